"""Which weights a training starts from where nobody names a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import clipshift
from clipshift.config import resolve
from clipshift.errors import ConfigError, DownloadError, WeightsError
from clipshift.models.zoo import ZOO
from clipshift.training import choosing_weights
from clipshift.training.choosing_weights import choose_weights, motion_weights
from clipshift.weights.published import published_weights
from tests.exporting.making import save_model


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was fetched, by nobody."""
    names: list[str] = []

    def note(name: str) -> Path:
        names.append(name)
        return Path(name)

    monkeypatch.setattr(choosing_weights, "find_weights", note)
    return names


@pytest.mark.parametrize(
    ("recipe", "settings", "name"),
    [
        ("finetune", [], "tsm-mobilenetv2-8f-k400-100e-mmaction2"),
        ("finetune", ["model.shift.fold_div=4"], "tsm-mobilenetv2-8f-k400-100e-mmaction2"),
        ("finetune", ["input.segments=16"], None),
        ("finetune", ["model.backbone=resnet18"], None),
        ("finetune-online", [], None),
        ("tsm-r50", [], "tsm-r50-8f-k400-mit"),
        ("tsm-r50", ["input.segments=16"], "tsm-r50-16f-k400-mit"),
        ("tsn-r50", ["input.segments=5"], "tsn-r50-8f-k400-mmaction2"),
        ("pptsm-r50", [], "pptsm-r50-k400-distilled"),
        ("pptsmv2", [], "pptsmv2-k400-dml"),
        ("motion-demo", [], None),
    ],
)
def test_the_best_weights_of_the_same_network(recipe: str, settings: list[str], name: str | None) -> None:
    config = resolve(recipe, settings=settings).config
    found = motion_weights(config.model, config.input.segments)
    if found is not None and name is not None:
        # The table may get better ones; they must be of this network and as accurate as those known today.
        best, known = (max(one.top1 for one in published_weights()[each].measured) for each in (found, name))
        assert best >= known
        assert ZOO[published_weights()[found].network].model.backbone == config.model.backbone
        assert published_weights()[found].data == "kinetics400"
    else:
        assert found == name


def test_what_is_taken_is_said(fetched: list[str], tmp_path: Path) -> None:
    config = resolve("finetune").config
    name = motion_weights(config.model, 8)
    assert name is not None
    chosen = choose_weights(config, None, tmp_path, overwrite=False)
    assert (chosen.name, fetched) == (name, [name])
    assert name in chosen.said[0]
    assert "--weights imagenet" in chosen.said[0]
    assert choose_weights(config, "kinetics400", tmp_path, overwrite=False).name == name
    for given in ("imagenet", "mine.pth", tmp_path / "auto"):
        assert choose_weights(config, given, tmp_path, overwrite=False).said == ()
    assert choose_weights(config, "imagenet", tmp_path, overwrite=False).name is None
    assert choose_weights(resolve("tsm-r50-k400").config, None, tmp_path, overwrite=False).name is None
    past = choose_weights(resolve("finetune-online").config, None, tmp_path, overwrite=False)
    assert past.name is None
    assert "look ahead" in past.said[0]
    assert fetched == [name]


def test_what_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: str) -> Path:
        raise error

    config = resolve("finetune").config
    monkeypatch.setattr(choosing_weights, "find_weights", fail)
    error: Exception = DownloadError("The server cannot be reached.", got="no route")
    chosen = choose_weights(config, "auto", tmp_path, overwrite=False)
    assert chosen.name is None
    assert "cannot be fetched (no route): the network starts from" in chosen.said[0]
    assert "--weights kinetics400" in chosen.said[0]
    error = WeightsError("The file is not what was published.")
    with pytest.raises(WeightsError):
        choose_weights(config, "auto", tmp_path, overwrite=False)


def test_a_run_goes_on_from_what_it_began_with(fetched: list[str], tmp_path: Path) -> None:
    config = resolve("finetune").config
    for began, overwrite, name in [
        (None, False, None),
        ("tsm.pth 1234", False, motion_weights(config.model, 8)),
        (None, True, motion_weights(config.model, 8)),
    ]:
        (tmp_path / "run.json").write_text(json.dumps({"weights": began}), encoding="utf-8")
        chosen = choose_weights(config, None, tmp_path, overwrite=overwrite)
        assert chosen.name == name
        assert bool(chosen.said) is overwrite


def test_words_that_contradict_settings_or_the_table(tmp_path: Path) -> None:
    online = resolve("finetune-online").config
    with pytest.raises(ConfigError, match="look ahead") as none:
        choose_weights(online, "kinetics400", tmp_path, overwrite=False)
    assert "pptsm-r50" in str(none.value)
    nothing = resolve("finetune", settings=["model.pretrained=false"]).config
    with pytest.raises(ConfigError, match="random"):
        choose_weights(nothing, "auto", tmp_path, overwrite=False)
    assert choose_weights(nothing, None, tmp_path, overwrite=False).said == ()


def test_a_training_from_weights_of_motion(
    small_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[str]
) -> None:
    """With a small network in place of the published file, from the choice to the log."""
    from clipshift.training import start

    config = resolve("finetune", settings=["model.backbone=test_resnet", "input.segments=4"]).config
    model = config.model.model_copy(update={"pretrained": False})
    published = save_model(tmp_path / "published", model=model, classes=tuple(f"class {n}" for n in range(5)))
    name = motion_weights(resolve("finetune").config.model, 8)
    monkeypatch.setattr(choosing_weights, "motion_weights", lambda *_: name)
    monkeypatch.setattr(start, "find_weights", lambda given: published if given == name else Path(given))
    settings = (
        "model.backbone=test_resnet", "input.segments=4", "input.resize=36", "input.crop=32", "train.epochs=1",
        "train.batch_size=4", "data.workers=0", "train.device=cpu", "train.examine=false", "train.unknown=false",
    )  # fmt: skip
    result = clipshift.train(small_clips, *settings, "data.validation=0.5", out=tmp_path / "run")
    log = (result.run / "train.log").read_text(encoding="utf-8")
    assert fetched == [name]
    assert f"starts from the published weights {name}" in log
    assert "The classifier starts from a linear probe" in log
