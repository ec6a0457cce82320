"""What is refused before anything is made, and the pieces that need no container."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.containers import AS_ROOT

from hive_reconciler.runtime import seccomp, shim, skeleton
from hive_reconciler.runtime.base import Bind, Container, RuntimeFailure
from hive_reconciler.runtime.checks import check
from hive_reconciler.runtime.choose import choose
from hive_reconciler.runtime.logs import tail
from hive_reconciler.runtime.nspawn import NspawnRuntime, command
from hive_reconciler.runtime.records import Cabinet, Record
from hive_wire.paths import Layout

GOOD = Container(
    name="h-x",
    uid="abcdefghijkl",
    agent="x",
    role="agent",
    revision="r",
    restart_key="k",
    memory=64 << 20,
    cpus=1.0,
    tasks=16,
    limits_required=False,
    network="none",
    binds=(Bind(Path("/usr"), Path("/opt/usr")),),
    environment=(("A", "b"),),
    argv=("/bin/true",),
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "../x"}, "no name"),
        ({"name": "h-x\n"}, "no name"),
        ({"name": ""}, "no name"),
        ({"uid": "../../etc/pas"}, "no uid"),
        ({"argv": ()}, "argv"),
        ({"argv": ("sh",)}, "full path"),
        ({"environment": (("A B", "c"),)}, "variable"),
        ({"environment": (("HIVE_CONTAINER", "forged"),)}, "variable"),
        ({"environment": (("A", "b\0c"),)}, "variable"),
        ({"binds": (Bind(Path("/"), Path("/host")),)}, "must not be bound"),
        ({"binds": (Bind(Path("usr"), Path("/x")),)}, "must not be bound"),
        ({"binds": (Bind(Path("/usr"), Path("/")),)}, "no place"),
        ({"binds": (Bind(Path("/usr"), Path("/a/../usr")),)}, "no place"),
        ({"binds": (Bind(Path("/usr"), Path("x")),)}, "no place"),
        ({"binds": (Bind(Path("/usr"), Path("/x")), Bind(Path("/etc"), Path("/x")))}, "same place"),
        ({"binds": (Bind(Path("/proc/self/cwd"), Path("/x")),)}, "through a link"),
    ],
)
def test_bad_containers_are_refused_for_good(change: dict[str, object], says: str) -> None:
    check(GOOD)
    with pytest.raises(RuntimeFailure, match=says) as failure:
        check(replace(GOOD, **change))  # type: ignore[arg-type]
    assert failure.value.permanent


@given(st.text(max_size=40))
def test_only_plain_names_are_names(name: str) -> None:
    try:
        check(replace(GOOD, name=name))
    except RuntimeFailure:
        return
    assert name == name.strip("-/. \n")
    assert "/" not in name
    assert ".." not in name


def test_colons_and_backslashes_in_paths_are_quoted_for_nspawn() -> None:
    odd = Bind(Path("/a:b\\c"), Path("/x:y"), read_only=False, idmap=True)
    record = Record.of(GOOD, "m", 0.0, ())
    words = command(replace(GOOD, binds=(odd,)), Path("/root"), record)
    assert "--bind=/a\\:b\\\\c:/x\\:y:idmap" in words
    assert words[words.index("--") + 1 :] == GOOD.argv


def test_a_fresh_root_has_a_place_for_everything(tmp_path: Path) -> None:
    binds = (Bind(Path("/usr"), Path("/opt/a/b")), Bind(Path("/etc/passwd"), Path("/opt/f")))
    root = skeleton.make(tmp_path / "home", "agent", binds, {"etc/hostname": "h\n"})
    assert (root / "opt/a/b").is_dir()
    assert (root / "opt/f").is_file()
    assert (root / "etc/hostname").read_text() == "h\n"
    assert os.readlink(root / "bin") == "usr/bin"
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    (root / "left").touch()
    root = skeleton.make(tmp_path / "home", "manager", (), {})
    assert not (root / "left").exists()
    assert os.readlink(root / "agents") == "hive/agents"
    skeleton.sweep(tmp_path / "home")
    assert os.listdir(tmp_path / "home") == ["root"]
    with pytest.raises(RuntimeFailure, match="is a link"):
        skeleton.make(tmp_path / "home", "agent", (Bind(Path("/usr"), Path("/bin")),), {})


def test_the_lock_is_one_holders_and_looking_takes_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / "run", "-t")
    entry = Cabinet(layout).entry("h-x")
    entry.make()
    assert not entry.locked()
    held = entry.lock()
    assert held is not None
    assert entry.locked()
    assert entry.lock() is None
    stop = threading.Event()
    looker = threading.Thread(target=lambda: [entry.locked() for _ in range(2000)] and stop.set())
    os.close(held)
    looker.start()
    while not stop.is_set():  # whoever looks never makes a start fail
        again = entry.lock()
        assert again is not None
        os.close(again)
    looker.join()


def test_a_start_that_cannot_look_lets_go_of_the_name(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / "run", "-t")
    entry = Cabinet(layout).entry("h-x")
    (entry.path / "processes").mkdir(parents=True)  # it cannot be read
    with pytest.raises(OSError):
        NspawnRuntime(layout)._claim(entry, GOOD)
    assert not entry.locked()


def test_a_log_ends_with_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert tail(log, 5) == ()
    log.with_name("x.log.1").write_bytes(b"one\ntwo\n")
    log.write_bytes(b"three\r\nfo\xffur")
    assert tail(log, 3) == ("two", "three", "fo�ur")


def test_a_log_goes_on_after_a_disk_that_was_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = shim.Log(str(tmp_path / "x.log"), 100)
    log.write(b"before\n" * 14)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shim.os, "open", full)
        for _ in range(2):
            log.write(b"lost\n" * 10)
        os.fstat(log.fd)  # nor does it write to a number that is another file's by now
    log.write(b"after\n")
    assert tail(tmp_path / "x.log", 2) == ("before", "after")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_denies_what_it_names_and_nothing_else(machine: str) -> None:
    steps = list(struct.iter_unpack("HBBI", seccomp.program(machine)))
    arch = seccomp._AUDIT[machine]

    def verdict(number: int, architecture: int, first: int = 1) -> int:
        data, at, value = {0: number, 4: architecture, 16: first}, 0, 0
        while True:
            code, yes, no, k = steps[at]
            at += 1
            if code == 0x20:
                value = data[k]
            elif code == 0x06:
                return int(k)
            else:
                at += yes if (value == k if code == 0x15 else value >= k) else no

    denied = set(seccomp.DENIED[machine].values())
    for number in range(600):
        assert (verdict(number, arch) != 0x7FFF0000) == (number in denied)
    for family in range(50):
        is_denied = verdict(seccomp.SOCKET[machine], arch, family) != 0x7FFF0000
        assert is_denied == (family == socket.AF_VSOCK)
        assert verdict(0, arch, family) == 0x7FFF0000
    assert verdict(0, arch ^ 1) != 0x7FFF0000
    assert verdict(0x40000000, arch) != 0x7FFF0000
    assert seccomp.program("riscv64") == b""


def test_everybody_gets_the_runtime_for_them(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path)
    assert choose("auto", layout).name == ("nspawn" if AS_ROOT else "process")
    with pytest.raises(RuntimeFailure) as failure:
        choose("process" if AS_ROOT else "nspawn", layout)
    assert failure.value.permanent


def test_nixos_is_for_nixos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout.of(tmp_path)
    if not AS_ROOT:
        with pytest.raises(RuntimeFailure, match="needs NixOS and root"):
            choose("nixos", layout)
        return
    monkeypatch.setattr("hive_reconciler.runtime.choose.on_nixos", lambda: False)
    with pytest.raises(RuntimeFailure, match="needs NixOS and root"):
        choose("nixos", layout)
    monkeypatch.setattr("hive_reconciler.runtime.choose.on_nixos", lambda: True)
    assert choose("nixos", layout).name == "nixos"
    assert choose("auto", layout).name == "nixos"
    assert choose("nspawn", layout).name == "nspawn"
