"""What `make docs` makes a site of: every page is there and in the navigation, and links hold where they lie then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from make_site import PUBLISHED, lead_outside, make_site

from tests.forking import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "docs"
    make_site(folder)
    return folder


def pages_of(navigation: object) -> set[str]:
    if isinstance(navigation, str):
        return {navigation}
    parts = navigation.values() if isinstance(navigation, dict) else navigation
    return set().union(*map(pages_of, parts))  # type: ignore[call-overload]


def test_every_page_is_in_the_navigation(site: Path) -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    found = {path.relative_to(site).as_posix() for path in site.rglob("*.md")}
    reference = {name for name in found if name.startswith("reference/") and name != "reference/index.md"}
    assert pages_of(settings["nav"]) == found - reference


def test_links_hold_on_the_site(site: Path) -> None:
    for page in site.rglob("*.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\((?!http|#)([^)#]+)[^)]*\)", text):
            assert (page.parent / target).exists(), (page, target)
        for target in re.findall(rf"\]\({re.escape(PUBLISHED)}([^)#]+)", text):
            assert (ROOT / target).exists(), (page, target)


def test_the_reference_has_all_public_names(site: Path) -> None:
    index = (site / "reference" / "index.md").read_text(encoding="utf-8")
    links = re.findall(r"^- \[`clipshift\.(\w+)`\]\[(clipshift\.[\w.]+)\.\1\]$", index, flags=re.MULTILINE)
    assert len(links) == len(index.splitlines()) - 4 > 50
    for _, module in links:
        assert f"\n::: {module}\n" in (site / "reference" / f"{module}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "link", "moved"),
    [
        (".", "[a](docs/data.md#x)", "[a](data.md#x)"),
        (".", "[a](CHANGELOG.md)", "[a](https://github.com/clipshift/clipshift/blob/main/CHANGELOG.md)"),
        ("docs/models", "[a](../data.md)", "[a](../data.md)"),
        ("docs/models", "[a](../../README.md#b)", "[a](../index.md#b)"),
        ("docs", "[a](https://a.b/c) [d](#e)", "[a](https://a.b/c) [d](#e)"),
    ],
)
def test_links_that_move(place: str, link: str, moved: str) -> None:
    assert lead_outside(link, place) == moved
