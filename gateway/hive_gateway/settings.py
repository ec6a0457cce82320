"""gateway.toml: which model API, and where its credential lies."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hive_wire.parse import SpecError, SpecProblem, parse_settings

FILE = "gateway.toml"
DEFAULT_URL = "https://api.anthropic.com"
PLAIN_URL = re.compile(r"[A-Za-z0-9:/._~\[\]-]+")


def checked_url(url: str) -> str:
    """`url` without a trailing slash. Raises ValueError with what is wrong, for a person."""
    if not PLAIN_URL.fullmatch(url):
        raise ValueError("is no plain URL: scheme, host, port and path are all it may have")
    parts = urlsplit(url)
    try:
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError("must start with https:// and name a host")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("is plain http, which is for loopback only; write https://")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseModel):
    """gateway.toml. Relative files are relative to the root."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[
        str | None,
        AfterValidator(lambda u: u if u is None else checked_url(u)),
        Field(description=f"The model API; $ANTHROPIC_BASE_URL or {DEFAULT_URL} by default"),
    ] = None
    api_key_file: Annotated[
        str | None, Field(min_length=1, description="File with an API key, mode 0600")
    ] = None
    oauth_token_file: Annotated[
        str | None,
        Field(min_length=1, description="File with the token of `claude setup-token`, mode 0600"),
    ] = None

    @model_validator(mode="after")
    def _one_credential(self) -> Settings:
        if self.api_key_file and self.oauth_token_file:
            raise ValueError("name api_key_file or oauth_token_file, not both")
        return self


@lru_cache(maxsize=4)
def parse(data: bytes) -> Settings:
    """The settings in `data`. Raises SpecError with file, line and key."""
    return parse_settings(Settings, data, FILE)


def environment_url(value: str) -> str:
    """$ANTHROPIC_BASE_URL, checked. Raises SpecError."""
    try:
        return checked_url(value)
    except ValueError as error:
        problem = SpecProblem("environment", 0, "ANTHROPIC_BASE_URL", str(error))
        raise SpecError([problem]) from None
