"""Parsed agent.toml files by blob OID, on disk: a start parses only what is new to it.

Losable, and never believed beyond what the model checks. Used in the git thread only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from hive_wire import spec
from hive_wire.spec import AgentSpec

log = logging.getLogger(__name__)

MOST = 20_000  # specs kept
SHARE = 0.05  # of what is kept may be missing on disk
FEW = 20


class Specs:
    """`path` None keeps nothing on disk. A key names all that a spec is made of."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._raw: dict[str, Any] | None = None  # until it is asked for, as the file has it
        self._fresh = 0

    def get(self, key: str) -> AgentSpec | None:
        raw = self._loaded().get(key)
        if raw is None:
            return None
        try:
            return AgentSpec.model_validate(raw)
        except ValidationError as error:
            log.warning("what was kept of a spec cannot be used: %s", error)
            return None

    def put(self, key: str, found: AgentSpec) -> None:
        self._loaded()[key] = found.model_dump(mode="json", exclude_defaults=True)
        self._fresh += 1

    def save(self) -> None:
        """Write it down once enough is new. What cannot be written is parsed again."""
        known = self._loaded()
        if self._path is None or self._fresh < max(FEW, SHARE * len(known)):
            return
        while len(known) > MOST:
            known.pop(next(iter(known)))
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            beside.write_text(json.dumps({"model": _model(), "specs": known}))
            os.replace(beside, self._path)
        except OSError as error:
            log.warning("%s is not written: %s", self._path, error)
        self._fresh = 0

    def _loaded(self) -> dict[str, Any]:
        if self._raw is None:
            self._raw = {} if self._path is None else _load(self._path)
        return self._raw


def _load(path: Path) -> dict[str, Any]:
    try:
        content = from_json(path.read_bytes())
        if content["model"] == _model():
            return dict(content["specs"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be used, so all is parsed: %s", path, error)
    return {}


def _model() -> str:
    """Another model may have other defaults, and read the same file otherwise."""
    folder = Path(spec.__file__).parent
    source = b"".join((folder / name).read_bytes() for name in ("spec.py", "terms.py"))
    return hashlib.sha256(source).hexdigest()
