"""`clipshift push`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from clipshift.cli.arguments import Text
from clipshift.console import say


def push(
    model: str,
    repository: str,
    *,
    license: Text | None = None,  # noqa: A002
    private: Annotated[bool, Parameter(negative=())] = False,
    revision: Text | None = None,
    message: Text | None = None,
) -> None:
    """Put a model on the Hugging Face Hub, or into a folder of the same form, with its card.

    Args:
        model: Run folder, model folder, exported model, or published weights by name.
        repository: OWNER/NAME or hf://OWNER/NAME, made if need be; or a folder, such as ./NAME; new or empty.
        license: Of the model, as the hub names it (apache-2.0, mit ...); by default none is stated.
        private: A repository that is made is private.
        revision: Branch of the repository; by default its main one.
        message: Of the commit.
    """
    import clipshift

    pushed = clipshift.push(model, repository, license=license, private=private, revision=revision, message=message)
    say(pushed.to_text())
