"""Tokens open the server, and are never told; other machines need one, or an explicit word."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import httpx2
import pytest

from clipshift.errors import ConfigError
from clipshift.serving.access import TOKEN_VARIABLE, Tokens, check_exposure, read_tokens
from clipshift.serving.server import check_certificate
from tests.serving.running import PATIENCE, Running, running

TOKENS = ("0123456789abcdef-one", "0123456789abcdef-two")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_tokens_open_what_is_not_open(gate: Path, clip: Path) -> None:
    with running(gate, tokens=Tokens(list(TOKENS))) as server:
        client = server.client
        for path in ("/v1/models", "/metrics", "/v2", "/v2/models/gate"):
            for wrong in (
                {},
                bearer("wrong"),
                bearer(TOKENS[0] + "x"),
                {"authorization": f"Basic {TOKENS[0]}"},
                {"authorization": TOKENS[0]},
            ):
                refused = client.get(path, headers=wrong)
                assert refused.status_code == 401, path
                assert refused.headers["www-authenticate"] == "Bearer"
            for token in TOKENS:
                assert client.get(path, headers=bearer(token)).status_code == 200
        assert server.predict(clip).status_code == 401
        assert server.service.decoders.busy == 0
        for path in ("/v2/health/live", "/v2/health/ready", "/openapi.json"):
            assert client.get(path).status_code == 200
        reloaded = client.post("/v1/models/gate/reload", headers=bearer(TOKENS[1]))
        assert reloaded.json() == client.get("/v1/models/gate", headers=bearer(TOKENS[0])).json()
        assert client.post("/v1/models/gate/reload").status_code == 401
        told = str([each.to_json() for each in server.log])
        assert "0123456789abcdef" not in told


def test_without_tokens_nobody_reloads_over_http(shared_server: Running) -> None:
    assert shared_server.client.post("/v1/models/gate/reload").status_code == 403


def test_tokens_are_read_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert not read_tokens(None)
    monkeypatch.setenv(TOKEN_VARIABLE, TOKENS[0])
    assert read_tokens(None)
    for short in ("", "secret", f"{TOKENS[0]} short"):
        monkeypatch.setenv(TOKEN_VARIABLE, short)
        with pytest.raises(ConfigError, match="can be guessed") as error:
            read_tokens(None)
        assert not short or short not in str(error.value)
    file = tmp_path / "tokens"
    file.write_text("\n".join(TOKENS), encoding="utf-8")
    assert read_tokens(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tokens(tmp_path / "missing")


def test_other_machines_need_a_token_or_an_explicit_word() -> None:
    nothing = Tokens([])
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        check_exposure(host, nothing, without_token=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):  # noqa: S104
        with pytest.raises(ConfigError, match="Other machines"):
            check_exposure(host, nothing, without_token=False)
        check_exposure(host, nothing, without_token=True)
        check_exposure(host, Tokens([TOKENS[0]]), without_token=False)


def test_tls(gate: Path, clip: Path, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    check_certificate(certificate, key)
    for wrong in ((key, None), (certificate, certificate), (tmp_path / "none", None)):
        with pytest.raises(ConfigError, match="cannot be used"):
            check_certificate(*wrong)
    with pytest.raises(ConfigError, match="without its certificate"):
        check_certificate(None, key)
    with running(gate, ssl_certfile=str(certificate), ssl_keyfile=str(key)) as server:
        assert server.server.address.startswith("https://")
        context = ssl.create_default_context(cafile=str(certificate))
        with httpx2.Client(base_url=server.server.address, verify=context, timeout=PATIENCE, trust_env=False) as client:
            answer = client.post("/v1/models/gate/predict", files={"video": (clip.name, clip.read_bytes())})
        assert answer.status_code == 200
