"""Who may use the server: tokens, and addresses that need one."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from pathlib import Path

from starlette.requests import Request

from clipshift.errors import ConfigError
from clipshift.serving.limits import Refusal

TOKEN_VARIABLE = "CLIPSHIFT_TOKEN"  # noqa: S105 - a name
_OPEN = frozenset({"/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"})
"""Addresses that anyone may ask for: they say nothing of models and clips."""
_SHORTEST = 16


class Tokens:
    """Tokens that open the server; they are kept as hashes.

    Args:
        tokens: None: anyone may use it.
    """

    def __init__(self, tokens: list[str]) -> None:
        self._hashes = [_hash(token) for token in tokens]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def check(self, request: Request) -> None:
        """Raise a Refusal (401) unless a request has one of the tokens, or needs none.

        Every token is compared, each in the same time whatever it is.
        """
        if not self._hashes or request.url.path in _OPEN or request.url.path.startswith("/page/"):
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        hashed = _hash(given.strip()) if kind.lower() == "bearer" else b""
        matches = [hmac.compare_digest(hashed, each) for each in self._hashes]
        if not any(matches):
            raise Refusal(
                401, "A token is needed: 'Authorization: Bearer TOKEN'.", headers={"WWW-Authenticate": "Bearer"}
            )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def read_tokens(file: str | Path | None) -> Tokens:
    """The tokens of a file, one a line, or else of the environment (CLIPSHIFT_TOKEN); none where neither is there.

    Raises:
        ConfigError: The file cannot be read or holds none, or a token is shorter than 16 characters.
    """
    if file is None:
        text, where = os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
        if TOKEN_VARIABLE not in os.environ:
            return Tokens([])
    else:
        where = str(file)
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise ConfigError("The file of tokens cannot be read.", where=file, got=reason) from error
    tokens = text.split()
    if not tokens or min(map(len, tokens)) < _SHORTEST:
        raise ConfigError(
            "There is no token, or one that can be guessed.",
            where=where,
            allowed=f"one or more of at least {_SHORTEST} characters, one a line",
            remedy="openssl rand -hex 32",
        )
    return Tokens(tokens)


def check_exposure(host: str, tokens: Tokens, *, without_token: bool) -> None:
    """Raise a ConfigError if others could reach the server and none was asked to be kept out."""
    if tokens or without_token or _is_loopback(host):
        return
    raise ConfigError(
        "Other machines could use the server, and it has no token.",
        where="host",
        got=host,
        allowed="127.0.0.1, ::1 or localhost without a token",
        remedy="add --token-file FILE, or --without-token if that is meant",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
