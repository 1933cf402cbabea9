"""The model card of an export: what it recognizes, how well, how to use it from several languages; `README.md`."""

from __future__ import annotations

from pathlib import Path

import jinja2

from clipshift.inference.export_folder import MODEL_FILES, Export


def card_text(export: Export, out: Path) -> str:
    """The card as Markdown.

    Args:
        export: Is described.
        out: The name that its folder will have.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clipshift", "exporting"),
        autoescape=False,  # noqa: S701 - Markdown
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("card.md").render(
        export=export,
        spec=export.spec,
        settings=export.spec.input,
        checked=export.checked,
        out=out.as_posix(),
        file=MODEL_FILES[export.target][0],
        answer="probabilities" if export.input == "frames" else "logits",
        element="uint8" if export.input == "frames" else "float32",
    )
