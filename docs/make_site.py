"""Gathers what `make docs` makes a site of: the pages of `docs/`, the README as start page, and the reference.

`python docs/make_site.py FOLDER` writes them to a new folder. The reference has a page for each module, so that what
docstrings refer to is there. Links from the pages to the rest of the repository lead to where it is published.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS, PACKAGE = ROOT / "docs", ROOT / "src" / "clipshift"
PUBLISHED = "https://github.com/clipshift/clipshift/blob/main/"
_LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)((?:#[^)\s]*)?\))")
_EXPORT = re.compile(r"^from \.(\S+) import (\w+) as \w+$", flags=re.MULTILINE)


def make_site(folder: Path) -> None:
    """Write all pages to a new folder."""
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for page in folder.rglob("*.md"):
        place = page.relative_to(folder).parent.as_posix()
        page.write_text(lead_outside(page.read_text(encoding="utf-8"), posixpath.join("docs", place)), encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (folder / "index.md").write_text(lead_outside(readme, "."), encoding="utf-8")
    reference = folder / "reference"
    reference.mkdir()
    (reference / "index.md").write_text(public_names(), encoding="utf-8")
    for module in modules():
        text = f"# {module}\n\n::: {module}\n    options:\n      show_root_heading: false\n"
        (reference / f"{module}.md").write_text(text, encoding="utf-8")


def lead_outside(markdown: str, place: str) -> str:
    """A page whose links hold where it lies on the site.

    Args:
        markdown: The page.
        place: Folder of the page in the repository; pages of the root move to the folder `docs` of the site.
    """

    def lead(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(place, link[2]))
        if path.startswith("docs/"):
            return f"{link[1]}{posixpath.relpath(path, 'docs' if place == '.' else place)}{link[3]}"
        if path == "README.md":
            return f"{link[1]}{posixpath.relpath('docs/index.md', place)}{link[3]}"
        return f"{link[1]}{PUBLISHED}{path}{link[3]}" if (ROOT / path).exists() else link[0]

    return _LINK.sub(lead, markdown)


def public_names() -> str:
    """The page of all that `import clipshift` has, with a link to each."""
    exports = _EXPORT.findall((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    names = [f"- [`clipshift.{name}`][clipshift.{module}.{name}]" for module, name in exports if name[0] != "_"]
    return "\n".join(["# The Python interface", "", "All that `import clipshift` has:", "", *names, ""])


def modules() -> list[str]:
    """All modules but private ones."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not any(part.startswith("_") for part in name.split(".")):
            found.append(name)
    return found


if __name__ == "__main__":
    make_site(Path(sys.argv[1]))
