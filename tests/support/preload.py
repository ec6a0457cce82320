"""Small C libraries that stand between a broker and its kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.needs import need


def build(source: str, directory: Path) -> Path:
    """The library to preload, made of `source` in this folder."""
    need("cc")
    library = directory / Path(source).with_suffix(".so").name
    path = Path(__file__).with_name(source)
    command = ("cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, path)
    subprocess.run([*map(str, command), "-ldl", "-lpthread"], check=True)
    return library
