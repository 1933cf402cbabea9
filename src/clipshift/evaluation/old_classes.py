"""What the classes of an old model lost when others were added to it: both models on the same validation clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from clipshift.evaluation.results import ClipScore, Evaluation
from clipshift.files import from_json, to_json, write_whole

OLD_CLASSES = "old_classes.json"
_MOST_NAMED = 10


@dataclass(frozen=True)
class OldClass:
    """One class of the old model.

    Attributes:
        name: Its name.
        clips: Validation clips of it that both models could read.
        before: Of these, right by the old model, which knows fewer classes.
        after: Right by the new one.
        taken: Of those that the new one has wrong, answered as one of the added classes.
    """

    name: str
    clips: int
    before: int
    after: int
    taken: int


@dataclass(frozen=True)
class OldClasses:
    """What came out.

    Attributes:
        old: The old model, as it was named.
        classes: Its classes, in its order.
        added: Names of the new ones.
        added_clips: Validation clips of these.
        added_right: Of these, right.
    """

    old: str
    classes: tuple[OldClass, ...]
    added: tuple[str, ...]
    added_clips: int
    added_right: int

    @property
    def clips(self) -> int:
        """Validation clips of all old classes."""
        return sum(each.clips for each in self.classes)

    @property
    def before(self) -> int:
        """Of these, right by the old model."""
        return sum(each.before for each in self.classes)

    @property
    def after(self) -> int:
        """Of these, right by the new one."""
        return sum(each.after for each in self.classes)

    def lines(self) -> list[str]:
        """For the log: the sum, and each class that lost clips."""
        if not self.clips:
            return ["What the old classes lost is not known: there are no validation clips of them."]
        new = f"of the added classes {self.added_right} of {self.added_clips}."
        lines = [
            f"Of the old classes' {self.clips} validation clips the old model has {self.before} right, "
            f"this one {self.after}; {new}"
        ]
        worse = sorted((each for each in self.classes if each.after < each.before), key=lambda x: x.after - x.before)
        lines += [
            f"  {each.name}: {each.before} of {each.clips} before, {each.after} now, {each.taken} taken for a new class"
            for each in worse[:_MOST_NAMED]
        ]
        if len(worse) > _MOST_NAMED:
            lines.append(f"  and {len(worse) - _MOST_NAMED} more classes that lost clips: see the report")
        return lines

    def save(self, folder: Path) -> None:
        """Write `old_classes.json`.

        Raises:
            OSError: It cannot be written.
        """
        write_whole(folder / OLD_CLASSES, to_json({"format": 1, **asdict(self)}, indent=1) + "\n")


def compare_old_classes(old: str, before: Evaluation, after: Sequence[ClipScore], classes: Sequence[str]) -> OldClasses:
    """Hold the two models' answers against each other.

    Args:
        old: Name of the old model.
        before: Its answers to clips of its classes.
        after: The new model's answers; those to clips that `before` has not are of added classes.
        classes: The new model's classes, of which the old ones come first.
    """
    names = before.classes
    answers = {(score.path, score.name): score for score in after}
    pairs = [(score, answers.get((score.path, score.name))) for score in before.scores]
    both = [(one, other) for one, other in pairs if other is not None and None not in (one.logits, other.logits)]
    rows = []
    for label, name in enumerate(names):
        own = [pair for pair in both if pair[0].label == label]
        wrong = [other for _, other in own if not other.correct]
        rows.append(
            OldClass(
                name,
                clips=len(own),
                before=sum(one.correct for one, _ in own),
                after=sum(other.correct for _, other in own),
                taken=sum(other.predicted is not None and other.predicted >= len(names) for other in wrong),
            )
        )
    added = [score for score in after if score.label >= len(names) and score.logits is not None]
    right = sum(score.correct for score in added)
    return OldClasses(old, tuple(rows), tuple(classes[len(names) :]), len(added), right)


def load_old_classes(folder: Path) -> OldClasses:
    """Read what [save][clipshift.evaluation.old_classes.OldClasses.save] wrote.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not such a file.
    """
    content = from_json((folder / OLD_CLASSES).read_text(encoding="utf-8"))
    content.pop("format", None)
    return TypeAdapter(OldClasses).validate_python(content)
