"""The cases: for each kind of input, how one is damaged and what reads it.

A case is known by its kind, the campaign's seed, and its number; the three give the same input every time. It is good
if the reader answers, or refuses in the few lines of a `UserError`, within time and memory, and touches nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import platform
import re
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np

from tests.fuzz import commands, watch
from tests.fuzz.mutate_containers import EXTREMES, damaged
from tests.fuzz.mutate_text import VALUES, WORDS, damaged_text, damaged_value
from tests.fuzz.samples import SMALL, read_json
from tests.video.making import decode_all

MOST_LINES = 8
LONGEST_LINE = 4200
"""Letters: an error quotes up to 2000 of a value, and a path has up to 4096 bytes."""

Make = Callable[[Random, Path, Path], object]
"""Makes the input: from a source of random numbers and the samples, in a folder; what the reader gets."""


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        make: Makes a damaged input.
        read: Reads it; raises `UserError`, or anything else for a fault.
        torch: Whether that needs PyTorch and the trained samples.
        exports: Whether that needs the exports for OpenVINO and PyTorch, too.
        seconds: CPU time that a case may take.
    """

    make: Make
    read: Callable[[Any], object]
    torch: bool = False
    exports: bool = False
    seconds: float = watch.MOST_SECONDS


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        result: "answer", "refused" or "concealed" (`ConcealedError`); else the kind of fault, one short line that is
            equal for equal faults.
        detail: The text of the error, or the traceback.
        seconds: CPU time.
        grown: Bytes by which the process grew.
    """

    result: str
    detail: str
    seconds: float
    grown: int

    @property
    def good(self) -> bool:
        return self.result in {"answer", "refused", "concealed"}


def random_of(kind: str, seed: int, number: int) -> Random:
    return Random(f"{kind}/{seed}/{number}")


def warm(kind: str, samples: Path, folder: Path) -> None:
    """Import and set up what the kind's reader needs, which is neither measured nor forbidden."""
    platform.processor()  # runs `uname`, the first time
    if KINDS[kind].torch:
        import clipshift

        for name in clipshift.__all__:
            getattr(clipshift, name)
    random = random_of(kind, -1, 0)
    for _ in range(3):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(Exception):
            KINDS[kind].read(KINDS[kind].make(random, samples, folder))
        shutil.rmtree(folder)


def run_case(kind: str, seed: int, number: int, samples: Path, folder: Path) -> Outcome:
    """Make a case in a new folder and read it.

    Args:
        kind: A key of `KINDS`.
        seed: Of the campaign.
        number: Of the case.
        samples: What `tests.fuzz.samples` made.
        folder: Made anew; the input stays there.
    """
    from clipshift.errors import UserError

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = KINDS[kind].make(random_of(kind, seed, number), samples, folder)
    result, detail = "answer", ""
    with watch.measured() as cost, watch.only_in(folder, folder.parent / "temporary") as seen:
        try:
            KINDS[kind].read(made)
        except UserError as error:
            result, detail = _judge_error(error)
        except ConcealedError as error:
            result, detail = "concealed", str(error)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            result, detail = _name_of_fault(error), traceback.format_exc()
    if seen.seen:
        result, detail = f"forbidden: {seen.seen[0].split()[0]}", seen.seen[0] + "\n" + detail
    elif cost.seconds > KINDS[kind].seconds:
        result = f"slow: {result}"
    elif cost.grown > watch.MOST_BYTES:
        result = f"memory: {result}"
    return Outcome(result, detail, cost.seconds, cost.grown)


def _judge_error(error: Exception) -> tuple[str, str]:
    lines = str(error).split("\n")
    if len(lines) > MOST_LINES:
        return f"long: an error of more than {MOST_LINES} lines: {lines[0][:80]}", str(error)
    if max(map(len, lines)) > LONGEST_LINE:
        return f"long: a line of more than {LONGEST_LINE} characters: {lines[0][:80]}", str(error)
    return "refused", str(error)


def _name_of_fault(error: BaseException) -> str:
    """The kind of an exception and the last line of clipshift that it went through."""
    steps = [step for step in traceback.extract_tb(error.__traceback__) if "/clipshift/" in step.filename]
    where = f"{steps[-1].filename.split('/clipshift/')[-1]}:{steps[-1].name}" if steps else "?"
    return f"fault: {type(error).__name__} in {where}"


# Videos


def _make_video(random: Random, samples: Path, folder: Path) -> object:
    source = random.choice(sorted(path for path in (samples / "videos").iterdir() if path.is_file()))
    path = folder / source.name
    path.write_bytes(damaged(source.read_bytes(), random))
    return path


_MOST_FRAMES = 60
_UNSURE = {"vp8"}
"""What FFmpeg makes of these when they are damaged can hang on its memory, and it does not say so."""


_CONCEALED = {"h264", "hevc", "mjpeg"}
"""Where a picture refers to one that damage took away, or is itself cut, FFmpeg shows another or a part of another in
its place, marks nothing, and chooses it from what it has decoded: alone, such a picture may look otherwise than in its
turn. How many do is counted."""


class DiffersError(Exception):
    """Frames that should be the same are not."""


class ConcealedError(Exception):
    """A frame of a damaged video is another alone than in its turn, where the decoder says nothing of damage."""


def _read_video(path: Path) -> object:
    from clipshift.video import open_clip

    with open_clip(path) as clip:
        count = clip.info.frames
        picked = [count - 1, 0, count // 2]
        alone = [clip.read([number])[0] for number in picked]
        if count > _MOST_FRAMES:
            return count
    with open_clip(path) as clip:  # with a decoder that has seen nothing yet
        frames = list(clip.frames())
    if len(frames) != count:
        raise DiffersError(f"{len(frames)} frames of {count}")
    others = [
        n
        for n, frame in zip(picked, alone, strict=True)
        if (frames[n] != frame).any() and clip.info.codec not in _UNSURE
    ]
    _compare_with_plain(path, clip.info.codec, frames)
    if others:
        kind = ConcealedError if clip.info.codec in _CONCEALED else DiffersError
        raise kind(f"frames {others} of {count} are others when they are read alone")
    return count


def _compare_with_plain(path: Path, codec: str, frames: list[np.ndarray]) -> None:
    """What plain decoding gives must be the same, where it gives as many frames, and as large ones."""
    try:
        plain = decode_all(path)
    except (av.FFmpegError, ValueError):
        return
    if codec in _UNSURE or [frame.shape for frame in plain] != [frame.shape for frame in frames]:
        return
    # Damage can turn or mirror a video, too, of which plain decoding takes no notice.
    turned = (frames, [frame[::-1] for frame in frames], [frame[:, ::-1] for frame in frames],
              [frame[::-1, ::-1] for frame in frames])  # fmt: skip
    others = min(
        ([n for n, (one, two) in enumerate(zip(each, plain, strict=True)) if (one != two).any()] for each in turned),
        key=len,
    )
    if others:
        raise DiffersError(f"frames {others} of {len(frames)} are others than those of plain decoding")


def _make_frames(random: Random, samples: Path, folder: Path) -> object:
    clip = folder / "clip"
    shutil.copytree(samples / "videos" / random.choice(("jpegs", "pngs")), clip)
    images = sorted(clip.iterdir())
    for image in random.sample(images, random.choice((1, 1, 2, len(images)))):
        what = random.random()
        if what < 0.7:
            image.write_bytes(damaged(image.read_bytes(), random))
        elif what < 0.8:
            image.unlink()
        elif what < 0.9:
            image.rename(image.with_name(random.choice(("img_00000.jpg", "img_99999.png", "x.jpg", "img_²³.jpg"))))
        else:
            image.unlink()
            image.mkdir()
    fitting = f"img_{{:05d}}{images[0].suffix}"
    return clip, random.choice((fitting, fitting, fitting, "img_{:05d}.jpg", "img_{:d}.png", "{}.jpg", "{:05d}"))


def _read_frames(made: tuple[Path, str]) -> object:
    from clipshift.config import resolve
    from clipshift.video import open_clip

    pattern = resolve(settings=[{"data.frame_pattern": made[1]}]).config.data.frame_pattern
    with open_clip(made[0], frame_pattern=pattern) as clip:
        return clip.info, clip.read([0, clip.frame_count - 1]), list(clip.frames())


# Lists and data.yaml


def _copy_lists(samples: Path, folder: Path) -> Path:
    data = folder / "data"
    shutil.copytree(samples / "lists", data)
    return data


def _make_list(random: Random, samples: Path, folder: Path) -> object:
    data = _copy_lists(samples, folder)
    source = random.choice(
        sorted(path for path in data.iterdir() if path.suffix in {".txt", ".csv", ".jsonl", ".json"})
    )
    if source.suffix == ".jsonl" and random.random() < 0.5:
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
        rows = damaged_value(rows, random)
        lines = [json.dumps(row) for row in rows] if isinstance(rows, list) else [json.dumps(rows)]
        source.write_text("\n".join(lines), encoding="utf-8")
    else:
        source.write_bytes(damaged_text(source.read_text(encoding="utf-8"), random))
    if random.random() < 0.2:
        (data / "classes.txt").write_bytes(damaged_text("up\ndown\nstill\n", random))
    return source, random.random() < 0.4


def _read_list(made: tuple[Path, bool]) -> object:
    from clipshift.config import DataConfig
    from clipshift.datasets.lists import gives_labels, stream_clips
    from clipshift.datasets.manifest import read_dataset, read_manifest
    from clipshift.errors import UserError

    path, several = made
    calls: list[Callable[[], object]] = [
        lambda: list(stream_clips(path)),
        lambda: gives_labels(path),
        lambda: read_manifest(path, DataConfig(), several=several),
        lambda: read_dataset(path, DataConfig(), several=several),
    ]
    refusal = None
    for call in calls:
        try:
            call()
        except UserError as error:
            refusal = error if refusal is None or len(str(error)) > len(str(refusal)) else refusal
    if refusal is not None:
        raise refusal
    return None


def _make_data(random: Random, samples: Path, folder: Path) -> object:
    import yaml

    data = _copy_lists(samples, folder)
    source = random.choice(sorted(data.glob("*.yaml")))
    text = source.read_text(encoding="utf-8")
    if random.random() < 0.5:
        text = yaml.safe_dump(damaged_value(yaml.safe_load(text), random), sort_keys=False)
        source.write_text(text, encoding="utf-8", errors="surrogateescape")
    else:
        source.write_bytes(damaged_text(text, random))
    return source, random.random() < 0.3


def _read_data(made: tuple[Path, bool]) -> object:
    from clipshift.config import DataConfig
    from clipshift.datasets.manifest import read_dataset

    return read_dataset(made[0], DataConfig(), several=made[1])


# Configuration


def _make_config(random: Random, samples: Path, folder: Path) -> object:
    import yaml

    from clipshift.config.text import valid_keys

    kind = random.choice(("file", "recipe", "settings", "settings"))
    settings: list[object] = []
    path = None
    if kind == "settings":
        for _ in range(random.choice((1, 2, 8))):
            key = random.choice(sorted(valid_keys())) if random.random() < 0.9 else random.choice(WORDS)
            if random.random() < 0.6:
                settings.append(f"{key}{random.choice(('=', '=', '=', '', '=='))}{random.choice(WORDS)}")
            else:
                settings.append({key: random.choice(VALUES)})
    else:
        path = folder / "settings.yaml"
        text = (samples / "settings" / ("some.yaml" if kind == "file" else "recipe.yaml")).read_text(encoding="utf-8")
        if random.random() < 0.5:
            text = yaml.safe_dump(damaged_value(yaml.safe_load(text), random), sort_keys=False)
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
        else:
            path.write_bytes(damaged_text(text, random))
    (folder / "settings.txt").write_text(repr((kind, settings)), encoding="utf-8", errors="backslashreplace")
    return kind, path, settings, folder


def _read_config(made: tuple[str, Path | None, list[Any], Path]) -> object:
    from clipshift.config import describe, load_config, resolve, save_config

    kind, path, settings, folder = made
    resolved = resolve(path if kind == "recipe" else None, file=path if kind == "file" else None, settings=settings)
    save_config(resolved.config, folder / "saved.yaml")
    if repr(load_config(folder / "saved.yaml")) != repr(resolved.config):
        raise DiffersError("the configuration is another one when it is read again")
    return describe(resolved.config, resolved.origin)


# Weights


def _make_weights(random: Random, samples: Path, folder: Path) -> object:
    source = random.choice(sorted((samples / "weights").iterdir()))
    data = source.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if source.suffix == ".safetensors" and random.random() < 0.5:
        header = json.dumps(damaged_value(json.loads(data[8 : 8 + length]), random)).encode()
        data = len(header).to_bytes(8, "little") + header + data[8 + length :]
    elif data[:2] == b"PK" and random.random() < 0.6:
        data = _damaged_archive(data, random)
    else:
        data = damaged(data, random)
    path = folder / (source.name if random.random() < 0.9 else "weights.safetensors")
    path.write_bytes(data)
    return path, folder


def _damaged_archive(data: bytes, random: Random) -> bytes:
    """An archive whose checksums and directory are right, with damaged entries, other names, or some of them gone."""
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        hit = random.choice([name for name in names if name.endswith((".pkl", ".npy", ".json"))] * 5 + names)
        for name in names:
            content = old.read(name)
            what = random.random()
            if name == hit:
                if name.endswith(".json") and random.random() < 0.7:
                    content = json.dumps(damaged_value(json.loads(content), random)).encode()
                else:
                    content = damaged(content, random)
                if what < 0.1:
                    name = random.choice(("../x", "/x", "archive/data/0", "archive/data.pkl", "\\x", name))  # noqa: PLW2901
                elif what < 0.15:
                    continue
            new.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _read_weights(made: tuple[Path, Path]) -> object:
    import clipshift
    from clipshift.errors import UserError
    from clipshift.weights.checkpoint_files import read_weights

    path, folder = made
    try:
        clipshift.convert(path, folder / "converted", model="tsm-r50")
    except UserError as error:
        if (folder / "converted").exists():
            raise DiffersError("a refused conversion left a folder") from error
    return read_weights(path)


# Folders of models, exports, runs and checkpoints


def _resigned(folder: Path, described: Any) -> str:  # noqa: ANN401
    """The description of a model or export with the checksums that its files and itself have now."""
    if isinstance(described, dict) and "weights_sha256" in described:
        described["weights_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if isinstance(described, dict) and "description_sha256" in described:
        if isinstance(described.get("files"), dict):
            for name in described["files"]:
                if (folder / name).is_file():
                    described["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        del described["description_sha256"]
        text = json.dumps(described, sort_keys=True)
        described["description_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(described)


def _make_model(random: Random, samples: Path, folder: Path) -> object:
    """A model folder or an export, damaged by accident (checksums tell it) or on purpose (checksums are right)."""
    source = samples / "trained" / random.choice(("run/model", "export"))
    model = Path(shutil.copytree(source, folder / "model"))
    described = read_json(model / "model.json")
    what = random.random()
    if what < 0.6:
        hit = model / ("model.json" if what < 0.15 else random.choice(("model.onnx", "model.safetensors")))
        if hit.is_file():
            hit.write_bytes(damaged(hit.read_bytes(), random))
    if what > 0.55:
        described = damaged_value(described, random)
    if what > 0.15:
        (model / "model.json").write_text(_resigned(model, described), encoding="utf-8")
    elif what < 0.05:
        (model / "model.json").write_text(random.choice(("[" * 100_000, '{"format": 1' + "0" * 5000 + "}", "1", '"a"')))
    return model, samples / "trained" / "clips" / "val"


def _make_openvino(random: Random, samples: Path, folder: Path) -> object:
    """An export for OpenVINO with damage to its description, its graph (XML) or its weights."""
    model = Path(shutil.copytree(samples / "exports" / "openvino", folder / "model"))
    graph, weights = model / "model.xml", model / "model.bin"
    what = random.random()
    if what < 0.6:
        graph.write_bytes(_damaged_attributes(graph.read_text(encoding="utf-8"), random))
    elif what < 0.8:
        graph.write_bytes(damaged_text(graph.read_text(encoding="utf-8"), random))
    else:
        weights.write_bytes(damaged(weights.read_bytes(), random))
    return _described_again(model, random), samples / "trained" / "clips" / "val"


def _damaged_attributes(text: str, random: Random) -> bytes:
    """XML in which up to three attributes or texts are others."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = [match.span(1) for match in re.finditer(r'="([^"<>]*)"|(?<=>)([^<>\n]+)(?=<)', text) if match[1]]
        start, end = random.choice(places)
        value = random.choice((*map(str, EXTREMES), "-1", text[slice(*random.choice(places))], random.choice(WORDS)))
        escaped = value.replace("&", "&amp;").replace("<", "&lt;") if random.random() < 0.9 else value
        text = text[:start] + escaped.replace('"', "&quot;") + text[end:]
    return text.encode(errors="surrogateescape")


def _make_torch(random: Random, samples: Path, folder: Path) -> object:
    """A program of `torch.export` with damage to its file, the entries of it, or the values in these."""
    model = Path(shutil.copytree(samples / "exports" / "torch", folder / "model"))
    program = model / "model.pt2"
    data = program.read_bytes()
    program.write_bytes(_damaged_archive(data, random) if random.random() < 0.8 else damaged(data, random))
    return _described_again(model, random), samples / "trained" / "clips" / "val"


def _described_again(model: Path, random: Random) -> Path:
    """The model with a description whose checksums are right; in some cases they are not, or it is damaged, too."""
    what = random.random()
    if what > 0.1:
        described = read_json(model / "model.json")
        if what > 0.8:
            described = damaged_value(described, random)
        (model / "model.json").write_text(_resigned(model, described), encoding="utf-8")
    return model


def _read_model(made: tuple[Path, Path]) -> object:
    import clipshift

    model, clips = made
    clip = min(clips.rglob("*.mp4"))
    return list(clipshift.predict(clipshift.load(model, device="cpu", threads=1), clip))


def _make_run(random: Random, samples: Path, folder: Path) -> object:
    run = Path(shutil.copytree(samples / "trained" / "run", folder / "run"))
    files = [path for path in sorted(run.rglob("*")) if path.suffix in {".json", ".jsonl", ".yaml", ".npz"}]
    for path in random.sample(files, random.choice((1, 1, 2, 4))):
        if path.suffix == ".npz":
            path.write_bytes(damaged(path.read_bytes(), random))
        elif path.suffix == ".yaml" or random.random() < 0.4:
            path.write_bytes(damaged_text(path.read_text(encoding="utf-8"), random))
        else:
            lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            at = random.randrange(len(lines)) if lines else 0
            lines[at : at + 1] = [json.dumps(damaged_value(json.loads(line), random)) for line in lines[at : at + 1]]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return run, samples / "trained" / "run"


def _read_run(made: tuple[Path, Path]) -> object:
    import clipshift
    from clipshift.errors import UserError
    from clipshift.evaluation.report.page import write_report

    refusal = None
    calls: tuple[Callable[[], object], ...] = (
        lambda: write_report(made[0]),
        lambda: clipshift.fuse(made, out=made[0].parent / "fused").to_text(),
        lambda: clipshift.load(made[0], device="cpu"),
    )
    for call in calls:
        try:
            call()
        except UserError as error:
            refusal = error
    if refusal is not None:
        raise refusal
    return None


def _make_checkpoint(random: Random, samples: Path, folder: Path) -> object:
    """A run as if it was killed after its first epoch, whose checkpoints, or what tells of them, are damaged."""
    run = Path(shutil.copytree(samples / "trained" / "run", folder / "run"))
    newest, older = sorted((run / "checkpoints").iterdir(), reverse=True)
    shutil.rmtree(newest)
    (run / "finished.json").unlink()
    state = read_json(older / "state.json")
    what = random.random()
    if what < 0.3:
        hit = random.choice(sorted(path for path in older.iterdir()))
        hit.write_bytes(damaged(hit.read_bytes(), random))
    elif what < 0.4:
        (older / "state.json").write_text(random.choice(("[" * 100_000, "1", '"a"', "[]", "null", "{}")))
    elif what < 0.5:
        odd = run / "checkpoints" / random.choice(("update-99999999-0000", "update-", "update-x", "update-0000000²"))
        odd.mkdir() if random.random() < 0.5 else odd.write_text("x")
    elif what < 0.6:
        hit = random.choice([path for path in sorted(run.rglob("*")) if path.is_file()])
        hit.unlink()
    else:
        if random.random() < 0.5:
            state["progress"] = damaged_value(state["progress"], random)
        else:
            weights = older / "state.safetensors"
            data = weights.read_bytes()
            length = int.from_bytes(data[:8], "little")
            header = json.dumps(damaged_value(json.loads(data[8 : 8 + length]), random)).encode()
            weights.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
            state["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        del state["json_sha256"]
        state["json_sha256"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
        (older / "state.json").write_text(json.dumps(state), encoding="utf-8")
    return samples / "trained" / "clips", run


def _read_checkpoint(made: tuple[Path, Path]) -> object:
    import clipshift

    clips, run = made
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return clipshift.train(clips, *SMALL, out=run)


KINDS: dict[str, Kind] = {
    "video": Kind(_make_video, _read_video),
    "frames": Kind(_make_frames, _read_frames),
    "list": Kind(_make_list, _read_list),
    "data": Kind(_make_data, _read_data),
    "config": Kind(_make_config, _read_config),
    "weights": Kind(_make_weights, _read_weights, torch=True),
    "model": Kind(_make_model, _read_model, torch=True),
    "openvino": Kind(_make_openvino, _read_model, torch=True, exports=True),
    "torch": Kind(_make_torch, _read_model, torch=True, exports=True),
    "run": Kind(_make_run, _read_run, torch=True, seconds=30),
    "checkpoint": Kind(_make_checkpoint, _read_checkpoint, torch=True, seconds=60),
    "command": Kind(commands.make, commands.run, torch=True, seconds=60),
}
