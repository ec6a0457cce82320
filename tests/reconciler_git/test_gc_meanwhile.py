"""Objects are written while git tidies up behind them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from hive_reconciler.git.durable import write
from hive_reconciler.git.trees import object_id

TIDY = """
import os, sys
print("ready", flush=True)
while True:
    for n in range(256):
        try:
            os.rmdir(os.path.join(sys.argv[1], f"{n:02x}"))
        except OSError:
            pass
"""


def test_a_folder_that_git_removes_as_empty_is_made_again(tmp_path: Path) -> None:
    repo = pygit2.init_repository(str(tmp_path / "a.git"), bare=True)
    folder = Path(repo.path) / "objects"
    texts = [b"%d" % n for n in range(400)]
    with subprocess.Popen(
        [sys.executable, "-c", TIDY, str(folder)], stdout=subprocess.PIPE
    ) as tidying:
        try:
            assert tidying.stdout is not None
            assert tidying.stdout.readline() == b"ready\n"
            for text in texts:
                oid = object_id(ObjectType.BLOB, text)
                write(repo.path, [(oid, (ObjectType.BLOB, text))], (), lambda _: None)
                file = folder / oid[:2] / oid[2:]
                assert repo[oid].data == text
                file.unlink()  # as when it is packed; its folder is empty again
        finally:
            tidying.kill()
