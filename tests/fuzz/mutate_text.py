"""Damage to texts and to the values in YAML and JSON."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

WORDS = (
    "", " ", "\t", "\n", "\r", "\0", "-", "--", "-1", "0", "1", "1e400", "-0.0", "nan", "inf", ".inf", "null", "~",
    "true", "yes", "[]", "{}", "[", "{", "'", '"', "\\", "/", "..", "../..", "~/x",
    "~nobody/x", "//", "*", "**", "?", "[a-", "%s",
    "{0}", "{:d}", "%05d", "%n", "$HOME", "a=b", "=", "==", "a.b.c", ".", ",", ";", "#", "# x", "\ufeff", "\u202e",
    "\x1b[31m", "é", "日本", "😀", "\udcff", "a" * 300, "a/" * 300, "9" * 30, "9" * 5000, "-" + "9" * 30, "0x10", "1_0",
    "٣", "²", "1:30", "2001-01-01", "2001-02-30",
    "!!python/object/apply:os.system [touch executed]", "&a [*a]", "&a {b: *a}", "*a",
    "<<: 1", "? x", "| x", "> x", "@x", "`x`", "%TAG", "---", "...", "CON", "nul.mp4", "file:///etc/passwd",
    "http://127.0.0.1:9/x", "concat:a|b", "/dev/zero", "/dev/null", "/proc/self/mem", "cuda:99", "cpu", "auto",
)  # fmt: skip
"""What readers of texts trip over: nothing, numbers of all sizes, other grammars, other scripts,
    paths that lead away."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 10**6, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e-300, 1e300,
    float("nan"), float("inf"), float("-inf"), "", "x", "0", "1", "nan", "\udcff", "\x1b[2J", "a" * 5000, [], {}, [[]],
    [None], [0], ["a", "a"], {"": None}, {"a": {"b": {"c": 1}}}, [1, 2, 3, 4], "../../x", "/", "test_resnet",
    "resnet50",
)  # fmt: skip


def damaged_text(text: str, random: Random) -> bytes:
    """A text with a few kinds of damage, as bytes that need not be UTF-8."""
    data = text
    for _ in range(random.choice((1, 1, 2, 3))):
        data = random.choice((_insert, _replace_token, _repeat_line, _drop_line, _swap_lines, _cut))(data, random)
    raw = data.encode(errors="surrogateescape" if random.random() < 0.9 else "replace")
    if random.random() < 0.1 and raw:
        at = random.randrange(len(raw))
        raw = raw[:at] + random.randbytes(random.choice((1, 2, 8))) + raw[at:]
    if random.random() < 0.05:
        raw = raw.decode(errors="replace").encode(random.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")))
    return raw


def _insert(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice(WORDS) * random.choice((1, 1, 1, 2, 1000)) + text[at:]


def _replace_token(text: str, random: Random) -> str:
    tokens = text.split(" ")
    at = random.randrange(len(tokens))
    tokens[at] = random.choice(WORDS)
    return " ".join(tokens)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True) or [""]


def _repeat_line(text: str, random: Random) -> str:
    lines = _lines(text)
    at = random.randrange(len(lines))
    lines[at] *= random.choice((2, 2, 3, 1000))
    return "".join(lines)


def _drop_line(text: str, random: Random) -> str:
    lines = _lines(text)
    del lines[random.randrange(len(lines))]
    return "".join(lines)


def _swap_lines(text: str, random: Random) -> str:
    lines = _lines(text)
    random.shuffle(lines)
    return "".join(lines)


def _cut(text: str, random: Random) -> str:
    return text[: random.randrange(len(text) + 1)]


def damaged_value(value: Any, random: Random) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """A tree of JSON in which one to three values, keys or entries are others."""
    value = json.loads(json.dumps(value))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        value = _change_one(value, random)
    return value


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:  # noqa: ANN401
    """Every (container, key) of a tree."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found.append((value, key))
        _places(inner, found)
    return found


def _change_one(value: Any, random: Random) -> Any:  # noqa: ANN401
    places = _places(value, [])
    if not places or random.random() < 0.03:
        return copy.deepcopy(random.choice(VALUES))
    container, key = random.choice(places)
    what = random.random()
    if what < 0.6:
        container[key] = copy.deepcopy(random.choice(VALUES))
    elif what < 0.75:
        del container[key]
    elif what < 0.85 and isinstance(container, dict):
        container[random.choice((*[word for word in WORDS if word.isprintable()], "format", "kind"))] = container[key]
    elif isinstance(container, list):
        container.extend([container[key]] * random.choice((1, 3, 100)))
    else:
        other, there = random.choice(places)
        container[key] = json.loads(json.dumps(other[there])) if there in other or isinstance(other, list) else None
    return value
