"""Settings: merging, origins, and errors that name the culprit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipshift.config import Config, Settings, describe, load_config, recipe_names, resolve, save_config
from clipshift.config.text import valid_keys
from clipshift.errors import ConfigError


def test_later_sources_win_and_origins_are_kept(tmp_path: Path) -> None:
    recipe, file = tmp_path / "recipe.yaml", tmp_path / "file.yaml"
    recipe.write_text("train: {epochs: 3, seed: 5}\noptim: {lr: 1e-4}\n")
    file.write_text("train:\n  epochs: 4\n  batch_size: 2\n")
    resolved = resolve(
        recipe,
        file=file,
        settings=["train.batch_size=6", {"train": {"patience": 2}}],
        extra={"--amp": {"train.amp": "bf16"}},
    )
    train = resolved.config.train
    assert (train.epochs, train.seed, train.batch_size, train.patience, train.amp) == (4, 5, 6, 2, "bf16")
    assert resolved.config.optim.lr == 1e-4
    assert resolved.origin["train.seed"] == f"recipe {recipe}"
    assert resolved.origin["train.epochs"] == str(file)
    assert resolved.origin["train.batch_size"] == "setting"
    assert resolved.origin["train.amp"] == "--amp"
    assert "train.momentum" not in resolved.origin


def test_all_errors_at_once_with_the_nearest_key() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(settings=["train.epoch=3", "optim.lr=fast", "optimizer.lr=2", "data.workers=-1", "train.seed=true"])
    text = str(caught.value)
    assert "5 settings are not valid" in text
    assert "unknown key 'train.epoch' [setting]; did you mean 'train.epochs'?" in text
    assert "unknown key 'optimizer.lr' [setting]; did you mean 'optim.lr'?" in text
    assert "optim.lr: input should be a valid number, got 'fast' [setting]" in text
    assert "data.workers: " in text
    assert "train.seed: input should be a valid integer, got True" in text
    assert len(text.splitlines()) <= 8


def test_many_errors_stay_within_eight_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(settings=[f"nonsense.key{number}=1" for number in range(20)])
    assert len(str(caught.value).splitlines()) == 8
    assert "... and 14 more" in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("train.epochs", "A setting has the form key=value"),
        ("train.epochs=[1", "The value of a setting is not valid YAML"),
        ("optim.schedule=step", "optim.schedule=step needs optim.steps"),
        ("input.region=[0.5,0,0.6,1]", "region must lie inside the picture"),
        ("input.region=[0,0,0,1]", "have an area"),
        ("input.region=[0,0,1,0.00001]", "region is thinner than"),
        ("input.crop=300", "crop (300) must not be larger than resize (256)"),
        (
            "input.sampling=start",
            "'middle', 'middle_float', 'middle_or_first', 'block_middle', 'ends' or 'dense', got 'start'",
        ),
        ("input.aspect=square", "'keep' or 'four_thirds', got 'square'"),
        ("input.resize_rounding=up", "'nearest' or 'down', got 'up'"),
        ("input.crop_rounding=up", "'down' or 'even', got 'up'"),
        ("input.antialias=1", "input.antialias: input should be a valid boolean, got 1"),
        ({"input.sampling": "ends", "evaluate.clips": 2}, "input.sampling=ends knows at most 1 evaluate.clips"),
        ("optim.lr=.nan", "optim.lr: input should be a"),
        ("train.amp=fp8", "input should be 'fp32', 'bf16' or 'fp16', got 'fp8'"),
    ],
)
def test_error_texts(setting: Settings, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(settings=[setting])
    assert part in str(caught.value)


def test_double_keys_and_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for text, part in [
        ("train: {epochs: 1, epochs: 2}", "key 'epochs' is there twice"),
        ("train: [", "not valid YAML"),
        ("- 1\n- 2", "must hold sections"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=part):
            resolve(file=path)
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve(file=tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Did you mean 'tsm-r50'"):
        resolve("tsm-r5")


def test_a_recipe_follows_its_base_and_bases_do_not_go_round(tmp_path: Path) -> None:
    for name, text in {
        "lowest": "train: {epochs: 3, seed: 5}\noptim: {lr: 0.5}\n",
        "middle": "base: LOW\ntrain: {epochs: 4}\n",
        "top": "base: MIDDLE\noptim: {lr: 0.25}\n",
        "round": "base: ROUND\n",
        "number": "base: 3\n",
    }.items():
        for word, file in {"LOW": "lowest", "MIDDLE": "middle", "ROUND": "round"}.items():
            text = text.replace(word, str(tmp_path / f"{file}.yaml"))  # noqa: PLW2901
        (tmp_path / f"{name}.yaml").write_text(text)
    resolved = resolve(tmp_path / "top.yaml")
    assert (resolved.config.train.epochs, resolved.config.train.seed, resolved.config.optim.lr) == (4, 5, 0.25)
    assert resolved.origin["train.epochs"] == f"recipe {tmp_path / 'middle.yaml'}"
    with pytest.raises(ConfigError, match="its own base"):
        resolve(tmp_path / "round.yaml")
    with pytest.raises(ConfigError, match="base of a recipe is the name of another"):
        resolve(tmp_path / "number.yaml")


def test_a_section_is_no_value_and_a_value_no_section() -> None:
    with pytest.raises(ConfigError, match="given a value and used as a section"):
        resolve(settings=["train=3", "train.epochs=4"])
    with pytest.raises(ConfigError, match="train: "):
        resolve(settings=["train=3"])
    with pytest.raises(ConfigError, match=r"train\.epochs: input should be a valid integer, got \{'more': 4\}"):
        resolve(settings=["train.epochs.more=4"])


def test_yaml_tags_do_not_run_code(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("train: !!python/object/apply:os.system ['echo bad']\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        resolve(file=path)


@pytest.mark.parametrize("recipe", recipe_names())
def test_recipes_resolve_and_survive_writing(recipe: str, tmp_path: Path) -> None:
    config = resolve(recipe).config
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_described_configuration_reads_back(tmp_path: Path) -> None:
    resolved = resolve(settings=["train.amp=bf16", "optim.steps=[1, 2.5]", "data.frame_pattern=on"])
    path = tmp_path / "described.yaml"
    path.write_text(describe(resolved.config, resolved.origin))
    assert load_config(path) == resolved.config
    assert "[setting]" in path.read_text()


def test_every_key_is_documented_or_self_explaining() -> None:
    # What a standard term says needs no sentence.
    plain = {"optim.momentum", "optim.nesterov", "optim.gamma", "train.epochs"}
    text = describe(Config(), {})
    undocumented = {
        key for key, line in zip(valid_keys(), (li for li in text.splitlines() if "# [" in li), strict=True)
        if line.endswith("[default]")
    }  # fmt: skip
    assert undocumented <= plain


def test_schema_is_json() -> None:
    schema = json.loads(json.dumps(Config.model_json_schema()))
    assert "epochs" in schema["$defs"]["TrainConfig"]["properties"]


@pytest.mark.parametrize(
    "setting",
    [
        "input.segments=99999999",
        "input.resize=99999999",
        "augment.crop_resize=99999999",
        "evaluate.clips=99999999",
        "evaluate.batch_size=99999999999999999999999",
        "data.workers=99999999",
    ],
)
def test_what_becomes_a_size_is_bounded(setting: str) -> None:
    with pytest.raises(ConfigError, match="less than or equal to"):
        resolve(settings=[setting])


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000, "2024-13-45"], ids=["digits", "brackets", "day"])
def test_values_of_which_yaml_cannot_make_anything(value: str) -> None:
    with pytest.raises(ConfigError, match="not valid YAML") as caught:
        resolve(settings=[f"train.epochs={value}"])
    assert len(str(caught.value)) < 1000


def test_published_recipes_take_pixels_as_stored() -> None:
    """As their systems do; those for own clips take them as players show them, as do all that are made from them."""
    chosen = {name: resolve(name).config.input.pixel_aspect for name in recipe_names()}
    published = {name for name in chosen if "k400" in name or "ucf101" in name}
    assert {chosen[name] for name in published} == {"ignore"}
    assert {chosen[name] for name in chosen if name not in published | {"motion-demo", "motion-demo-online"}} == {
        "apply"
    }
    assert resolve().config.input.pixel_aspect == "ignore"  # of models from before there was a choice
