"""Finding the model API's credential on the host, and refusing one that others can read."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .settings import Settings

Kind = Literal["api-key", "oauth"]

# In this order: an API key goes before a token of a subscription.
NAMES: dict[Kind, str] = {"api-key": "anthropic-api-key", "oauth": "claude-oauth-token"}
VARIABLES: dict[Kind, str] = {"api-key": "ANTHROPIC_API_KEY", "oauth": "CLAUDE_CODE_OAUTH_TOKEN"}
OAUTH_BETA = "oauth-2025-04-20"  # without it the API takes no OAuth token
MAX_SECRET = 8 << 10  # bytes

NOWHERE = (
    f"no credential for the model API: put an API key into keys/{NAMES['api-key']} "
    f"or the token of `claude setup-token` into keys/{NAMES['oauth']} under the hive's root "
    "(mode 0600), or name a file in gateway.toml"
)


class CredentialProblem(Exception):
    """There is no usable credential; the message says what the operator must do."""


@dataclass(frozen=True)
class Credential:
    kind: Kind
    secret: str = field(repr=False)

    def headers(self) -> dict[str, str]:
        """What authenticates a request. The OAuth beta is added elsewhere, to the client's."""
        if self.kind == "api-key":
            return {"x-api-key": self.secret}
        return {"authorization": f"Bearer {self.secret}"}


def find(root: Path, settings: Settings, environ: Mapping[str, str]) -> Credential:
    """The first of: gateway.toml, systemd's credentials, keys/ in the root, the environment.

    Reads files: not for an event loop. Raises CredentialProblem.
    """
    if settings.api_key_file is not None:
        return _named("api-key", root, settings.api_key_file)
    if settings.oauth_token_file is not None:
        return _named("oauth", root, settings.oauth_token_file)
    found = _of_systemd(environ) or _of_keys(root) or _of_environment(environ)
    if found is None:
        raise CredentialProblem(NOWHERE)
    return found


def _named(kind: Kind, root: Path, file: str) -> Credential:
    secret = _read(root / file, file, private=True)
    if secret is None:
        raise CredentialProblem(f"gateway.toml names {file}, which does not exist")
    return Credential(kind, secret)


def _of_systemd(environ: Mapping[str, str]) -> Credential | None:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    for kind, name in NAMES.items():
        # systemd guards the directory itself, and shows an ACL as the group's mode
        secret = _read(Path(directory, name), f"systemd's credential {name}", private=False)
        if secret is not None:
            return Credential(kind, secret)
    return None


def _of_keys(root: Path) -> Credential | None:
    for kind, name in NAMES.items():
        secret = _read(root / "keys" / name, f"keys/{name}", private=True)
        if secret is not None:
            return Credential(kind, secret)
    return None


def _of_environment(environ: Mapping[str, str]) -> Credential | None:
    for kind, variable in VARIABLES.items():
        if environ.get(variable):
            return Credential(kind, _checked(environ[variable].encode(), f"${variable}"))
    return None


def _read(path: Path, shown: str, *, private: bool) -> str | None:
    """The secret in a file, None when there is no file. `shown` names it to people: agents
    read the errors too, and learn no path of the host."""
    try:
        # not to hang on a FIFO that somebody put there
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CredentialProblem(f"{shown} cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CredentialProblem(f"{shown} is no regular file")
        mode = stat.S_IMODE(status.st_mode)
        if private and mode & 0o077:
            raise CredentialProblem(
                f"{shown} is open to other users (mode {mode:04o}): chmod 0600 it"
            )
        return _checked(os.read(descriptor, MAX_SECRET + 1), shown)
    finally:
        os.close(descriptor)


def _checked(data: bytes, shown: str) -> str:
    """The secret in `data`. An error never repeats what was found."""
    secret = data.strip()
    if not secret:
        raise CredentialProblem(f"{shown} is empty: put the credential into it")
    if len(secret) > MAX_SECRET or not all(0x21 <= byte <= 0x7E for byte in secret):
        raise CredentialProblem(f"{shown} must hold one credential, on one line, and no more")
    return secret.decode("ascii")
