"""The help of the command line and the docstrings of the public functions say the same of the same arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from docstring_parser import parse

import clipshift
from clipshift.cli import prepare
from clipshift.cli.app import COMMANDS, app

FUNCTIONS: dict[str, tuple[Callable[..., Any], ...]] = {
    "evaluate": (clipshift.evaluate, clipshift.fuse),  # and evaluate_events, with other words
    "predict": (clipshift.load, clipshift.predict),
    "merge": (clipshift.merge_answers,),
    "check": (clipshift.check_data, clipshift.check_labels),
    "lists": (clipshift.write_lists,),
    "frames": (clipshift.extract_frames,),
    "repack": (clipshift.repack_videos,),
}
"""The public functions of commands of another name."""
OTHERWISE = {
    "learning_curve": {"settings"},
    "check": {"data", "settings"},  # the settings for reading, of the function
    "predict": {"mode"},  # auto is of the command, which knows how many videos there are
    "benchmark": {"models"},  # a command has its settings among the names
    "verify": {"exports"},
    "stream": {"settings"},
    "train": {"settings"},  # words of a command; words or mappings of a function
    "evaluate": {"settings", "bad", "data", "out"},  # the command takes annotations, too, and the sources of a fusion
    "calibrate": {"settings"},
    "timeline": {"videos", "workers"},  # a command has its settings among the names, and None for auto
    "fit_events": {"settings", "workers"},
    "explain": {"settings"},
    "export": {"settings"},
    "frames": {"settings"},
    "repack": {"settings"},
}
"""Arguments that share a name only."""
ALL = [command for commands in COMMANDS.values() for command in commands]


def arguments_of(function: Callable[..., Any]) -> dict[str, str]:
    """What a docstring says of each argument, without marks of code."""
    described = parse(function.__doc__ or "").params
    return {
        each.arg_name.lstrip("*"): " ".join((each.description or "").split()).replace("`", "").replace("'", "")
        for each in described
    }


def functions_of(command: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    name = command.__name__
    own = getattr(clipshift, name, None)
    return FUNCTIONS.get(name) or ((own,) if inspect.isfunction(own) else ())


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.__name__)
def test_an_argument_means_the_same_in_the_command_and_in_the_function(command: Callable[..., Any]) -> None:
    """The help is the beginning of the function's text; a default that both have is the same."""
    helps, otherwise = arguments_of(command), OTHERWISE.get(command.__name__, set())
    for function in functions_of(command):
        texts, parameters = arguments_of(function), inspect.signature(function).parameters
        for name in (set(helps) & set(texts)) - otherwise:
            assert texts[name].startswith(helps[name]), f"{command.__name__} {name}: {texts[name]!r}"
            ours, theirs = inspect.signature(command).parameters[name].default, parameters[name].default
            if inspect.Parameter.empty not in (ours, theirs):
                assert ours == theirs, f"{command.__name__} {name}"


def test_the_comparison_compares() -> None:
    compared = sum(
        len(set(arguments_of(command)) & set(arguments_of(function)))
        for command in ALL
        for function in functions_of(command)
    )
    assert compared > 50


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.__name__)
def test_every_argument_has_a_help(command: Callable[..., Any]) -> None:
    assert set(arguments_of(command)) == set(inspect.signature(command).parameters)


def test_the_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    app("--help", result_action="return_value")
    listed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for command in ALL:
        assert command.__doc__
        first = " ".join(command.__doc__.split("\n\n")[0].split()).rstrip(".")
        assert f"{command.__name__.replace('_', '-')} {first[:20]}" in listed
    assert f"prepare {prepare.app.help}" in listed
