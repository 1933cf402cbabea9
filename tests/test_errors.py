"""Errors keep their parts, their shape, and survive the way from a worker process."""

from __future__ import annotations

import pickle

import pytest

from clipshift import errors
from clipshift.errors import UserError, VideoError


def test_parts_stand_in_their_order() -> None:
    error = UserError("It does not fit.", where="a.txt", got=3, allowed=[1, 2], remedy="take another")
    assert str(error).splitlines() == [
        "It does not fit.",
        "  where:   a.txt",
        "  got:     3",
        "  allowed: 1, 2",
        "  do:      take another",
    ]


def test_parts_that_are_missing_are_left_out() -> None:
    assert str(UserError("It does not fit.")) == "It does not fit."


def test_errors_cross_processes() -> None:
    error = VideoError("It is cut off.", where="a.mp4", remedy="copy it again")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - what multiprocessing does
    assert type(again) is VideoError
    assert str(again) == str(error)
    assert again.remedy == "copy it again"


def test_errors_with_arguments_of_their_own_cross_processes() -> None:
    error = errors.MissingDependencyError("torch")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - what multiprocessing does
    assert type(again) is errors.MissingDependencyError
    assert str(again) == str(error)


@pytest.mark.parametrize("name", [name for name in vars(errors) if name.endswith("Error")])
def test_every_error_is_a_user_error(name: str) -> None:
    assert issubclass(getattr(errors, name), UserError)


def test_line_breaks_in_what_is_quoted_make_no_lines() -> None:
    odd = "a" + "\n" * 1000 + "b"
    error = UserError(odd, where=odd, got=odd, allowed=[odd], remedy=odd)
    assert len(str(error).split("\n")) == 8, "four of the sentence, one of each of the others"
    assert len(str(UserError(odd)).split("\n")) == 8
    assert str(UserError("Two differ.\n  one\n  two", where="a\nb")).split("\n") == [
        "Two differ.", "  one", "  two", "  where:   a\\nb",
    ]  # fmt: skip
    assert error.where == odd, "programs get it as it is"
