"""The pages agree with the program: every model has its page, names and numbers are right, commands can be parsed."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
from pathlib import Path

import pytest

from clipshift.cli import app
from clipshift.config import Calibration, resolve
from clipshift.config.recipes import DEFAULT_RECIPE, recipe_names
from clipshift.evaluation.protocols import PROTOCOLS
from clipshift.models.backbones import check_name
from clipshift.models.bundle import load_bundle, save_bundle
from clipshift.models.description import describe_model
from clipshift.models.zoo import ZOO
from clipshift.weights.published import published_weights

PUBLISHED = published_weights()
ROOT = Path(__file__).resolve().parents[1]
MODEL_PAGES = sorted((ROOT / "docs" / "models").glob("*.md"))
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
}
OVERVIEW = PAGES["docs/models/README.md"]
NAME = re.compile(
    r"(pp)?ts[nm](v2)?-(r18|r50|r101|mobilenet|efficientnet)[\w-]*|pptsmv2[\w-]*|[\w-]+-imagenet1k-[\w-]+"
)

pages = pytest.mark.parametrize("page", PAGES)


def rows(text: str, columns: int) -> list[list[str]]:
    """The cells of all tables of so many columns."""
    tables = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in tables if len(row) == columns]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def heading_anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", without_code(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_lead_to_files_and_headings(page: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in heading_anchors(file.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", ZOO)
def test_every_model_has_a_page_and_a_row(name: str) -> None:
    row = re.search(rf"^\| \[`{re.escape(name)}`\]\(([\w-]+\.md)\) \|.*$", OVERVIEW, flags=re.MULTILINE)
    assert row is not None
    page = PAGES[f"docs/models/{row[1]}"]
    assert f"`{name}`" in page
    commands = [" ".join(command.split()[3:]) for command in console_commands(page)]
    assert " ".join(["--recipe", ZOO[name].recipe, *ZOO[name].settings]) in commands
    described = describe_model(name)
    cells = [cell.strip() for cell in row[0].split("|")]
    folded = f"{described.folded_parameters / 1e6:.2f}"
    assert cells[3:6] == [str(described.segments), folded, f"{described.gmacs:.2f}"]
    assert f"{described.parameters:,}" in page
    assert f"{described.gmacs:.2f}" in page


@pytest.mark.parametrize("path", MODEL_PAGES, ids=lambda path: path.stem)
def test_published_accuracies_are_those_of_the_table(path: Path) -> None:
    name = ""
    found: dict[str, list[tuple[str, str]]] = {}
    for first, _, top1, views in rows(PAGES[path.relative_to(ROOT).as_posix()], 4):
        if first.strip("`") in PUBLISHED or (not first and top1 and name):
            name = first.strip("`") or name
            found.setdefault(name, []).append((top1, views))
        else:
            name = ""
    for name, results in found.items():
        assert results == [(f"{result.top1:g}", str(result.views)) for result in PUBLISHED[name].measured]


def test_every_published_name_is_on_a_page_of_the_models() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in MODEL_PAGES)
    assert {name for name in PUBLISHED if f"`{name}`" not in text} == set()


def test_protocols_are_those_of_the_table() -> None:
    cells = {row[0].strip("`"): row[2:] for row in rows(PAGES["docs/data.md"], 5) if row[0].strip("`") in PROTOCOLS}
    assert cells == {name: [str(one.clips), one.crops, one.about] for name, one in PROTOCOLS.items()}


@pages
def test_names_of_models_exist(page: str) -> None:
    known = {*ZOO, *PUBLISHED, *recipe_names()}
    for word in re.findall(r"[`\s]([\w.-]+)(?=[`\s])", PAGES[page]):
        if NAME.fullmatch(word):
            assert word in known, word


def console_commands(text: str) -> list[str]:
    return re.findall(r"^\$ (clipshift .*)$", text, flags=re.MULTILINE)


@pages
def test_commands_can_be_parsed(page: str) -> None:
    for line in console_commands(PAGES[page]):
        words = shlex.split(line)[1:]
        if words in (["--help"], ["--version"]):
            continue
        command, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
        given = bound.arguments
        name = words[1] if words[0] == "prepare" else words[0]
        assert command.__name__ == name.replace("-", "_"), line
        if words[0] == "train":
            recipe = given.get("recipe") or DEFAULT_RECIPE
            config = resolve(recipe, settings=given.get("settings", ())).config
            check_name(config.model.backbone)
        elif words[0] == "config":
            resolve(given.get("recipe") or DEFAULT_RECIPE, settings=given.get("settings", ()))
        elif words[0] == "models" and "name" in given and given["name"] not in {*ZOO, *PUBLISHED}:
            check_name(given["name"])


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/contributing/")])
def test_changes_that_are_shown_can_be_made(page: str) -> None:
    changes = re.findall(r"^```diff\n(.*?)^```", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    assert changes
    for file, hunks in re.findall(r"^\+\+\+ b/(\S+)\n((?:(?!--- ).*\n)*)", "".join(changes), flags=re.MULTILINE):
        path = ROOT / file
        now = path.read_text(encoding="utf-8") if path.exists() else ""
        for hunk in re.split(r"^@@ .*\n", hunks, flags=re.MULTILINE)[1:]:
            before = "".join(f"{line[1:]}\n" for line in hunk.splitlines() if not line.startswith("+"))
            assert before in now, f"{file}: {before}"


@pages
def test_settings_in_the_text_exist(page: str) -> None:
    for setting in re.findall(r"`((?:model|input|augment|train|optim|data)\.[\w.]+=[^`]+)`", PAGES[page]):
        resolve("pptsmv2", settings=setting.split())


@pytest.mark.parametrize("page", ["docs/timeline.md", "docs/data.md"])
def test_examples_of_python_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of Python are one program; `>>>` lines say what comes out."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    example = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page, page, 0)
    assert len(example.examples) > 8
    failed, _ = doctest.DocTestRunner().run(example)
    assert failed == 0


@pytest.mark.parametrize("page", ["docs/trust.md", "docs/explaining.md"])
def test_examples_with_a_trained_model_run(
    page: str, small_model: Path, small_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of Python, with a calibrated model as `runs/gym`."""
    monkeypatch.chdir(tmp_path)
    network, spec = load_bundle(small_model)
    fitted = Calibration(temperature=1.5, clips=20, scores=tuple(number / 20 for number in range(20)))
    save_bundle(tmp_path / "runs" / "gym" / "model", network, spec.model_copy(update={"calibration": fitted}))
    shutil.copy(min(small_clips.rglob("*.mp4")), "new_clip.mp4")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})  # noqa: S102 - the page of the repository


def test_the_table_of_errors_is_summed_up_in_the_readme() -> None:
    largest: dict[str, float] = {}
    for project, _, _, error in rows(PAGES["docs/weights.md"], 4):
        if re.fullmatch(r"\d[\d.e-]*", error):
            largest[project] = max(largest.get(project, 0.0), float(error))
    assert len(largest) == 3
    for project, most in largest.items():
        row = next(cells for cells in rows(PAGES["README.md"], 2) if cells[0].startswith(project))
        assert float(row[1]) == most
