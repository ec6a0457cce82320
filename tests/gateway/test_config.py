"""Where url and credential come from, and what an operator is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.gateway_rig import Hive

from hive_gateway.config import Config, Upstream
from hive_gateway.credentials import Credential


def read(hive: Hive, **environ: str) -> Upstream:
    return Config(hive.layout.root, environ).read()


def test_the_first_place_that_has_a_credential_wins(hive: Hive, tmp_path: Path) -> None:
    environ = {"CLAUDE_CODE_OAUTH_TOKEN": "env-token"}
    assert read(hive, **environ).credential == Credential("oauth", "env-token")
    environ["ANTHROPIC_API_KEY"] = "env-key"
    assert read(hive, **environ).credential == Credential("api-key", "env-key")
    hive.key("keys-token", "claude-oauth-token")
    assert read(hive, **environ).credential == Credential("oauth", "keys-token")
    hive.key("keys-key\n")
    assert read(hive, **environ).credential == Credential("api-key", "keys-key")
    systemd = tmp_path / "credentials"
    systemd.mkdir()
    environ["CREDENTIALS_DIRECTORY"] = str(systemd)
    (systemd / "claude-oauth-token").write_text("systemd-token")
    (systemd / "claude-oauth-token").chmod(0o440)
    assert read(hive, **environ).credential == Credential("oauth", "systemd-token")
    hive.key("named", "named")
    hive.toml('api_key_file = "keys/named"')
    assert read(hive, **environ).credential == Credential("api-key", "named")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(hive: Hive, mode: int) -> None:
    hive.key("secret-key", mode=mode)
    found = read(hive, ANTHROPIC_API_KEY="env-key")
    assert found.credential is None
    assert found.problem is not None
    assert f"keys/anthropic-api-key is open to other users (mode {mode:04o})" in found.problem
    assert "chmod 0600" in found.problem


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "is empty"), (" \n", "is empty"), ("a\nb", "one credential"), ("ä", "one credential")],
)
def test_a_file_without_one_credential_is_refused(hive: Hive, content: str, said: str) -> None:
    hive.key(content)
    problem = read(hive).problem
    assert problem is not None
    assert said in problem


def test_a_fifo_or_directory_does_not_hang(hive: Hive) -> None:
    path = hive.key("x")
    path.unlink()
    os.mkfifo(path, 0o600)
    assert "no regular file" in str(read(hive).problem)
    path.unlink()
    path.mkdir()
    assert "no regular file" in str(read(hive).problem)


def test_a_named_file_must_exist(hive: Hive) -> None:
    hive.toml('oauth_token_file = "keys/none"')
    problem = "gateway.toml names keys/none, which does not exist"
    assert read(hive, ANTHROPIC_API_KEY="env-key") == Upstream(
        "https://api.anthropic.com", None, problem
    )


def test_the_url_comes_from_the_file_then_the_environment(hive: Hive) -> None:
    assert read(hive).url == "https://api.anthropic.com"
    assert read(hive, ANTHROPIC_BASE_URL="http://127.0.0.1:1/").url == "http://127.0.0.1:1"
    hive.toml('url = "https://proxy.example/anthropic/"')
    assert read(hive, ANTHROPIC_BASE_URL="http://x").url == "https://proxy.example/anthropic"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('url = "http://api.example"', "gateway.toml:1: url: is plain http"),
        ('\nurl = "ftp://api.example"', "gateway.toml:2: url: must start with https://"),
        ('url = "https://user:pw@api.example"', "is no plain URL"),
        ('url = "https://api.example/?x=1"', "is no plain URL"),
        ('url = "https://api.example:99999"', "is no URL"),
        ("url = 3", "gateway.toml:1: url: Input should be a valid string"),
        ("url = =", "gateway.toml:1: is not TOML"),
        ('api_key = "sk-secret"', "did you mean 'api_key_file'?"),
        ('api_key_file = "a"\noauth_token_file = "b"', "not both"),
    ],
)
def test_a_bad_file_says_where_and_what(hive: Hive, text: str, said: str) -> None:
    hive.toml(text)
    found = read(hive, ANTHROPIC_API_KEY="env-key")
    assert found.credential is None
    assert found.problem is not None
    assert said in found.problem
    assert "sk-secret" not in found.problem


def test_a_bad_url_in_the_environment_is_named(hive: Hive) -> None:
    found = read(hive, ANTHROPIC_BASE_URL="http://api.example", ANTHROPIC_API_KEY="k")
    assert found.credential is None
    assert found.problem is not None
    assert found.problem.startswith("environment: ANTHROPIC_BASE_URL: is plain http")


def test_a_secret_is_not_in_its_repr() -> None:
    assert "hunter2" not in repr(Credential("api-key", "hunter2"))
