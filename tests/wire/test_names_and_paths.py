import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_wire.names import RESERVED, container_name, is_name, is_uid, name_problem, new_uid
from hive_wire.paths import SYSTEM_ROOT, SYSTEM_RUN, Layout, UnsafeDirectory


@pytest.mark.parametrize("name", ["a", "scout", "hm1nd", "web-2", "abcdefghi"])
def test_good_names(name):
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", "../x", "-a", "a-", "A", "1a", "abcdefghij", "a b", "a\n", "é", *sorted(RESERVED)]
)
def test_bad_names_come_with_a_reason(name):
    assert name_problem(name)


@given(st.text())
def test_no_name_is_a_path_or_an_option(text):
    if is_name(text):
        assert "/" not in text and not text.startswith(("-", ".")) and len(text) <= 9


def test_uids_are_fresh():
    uids = {new_uid() for _ in range(1000)}
    assert len(uids) == 1000
    assert all(is_uid(uid) for uid in uids)


def test_containers_fit_the_eleven_characters_of_nixos():
    assert container_name("hm1nd", "manager") == "hm1nd"
    assert len(container_name("abcdefghi", "agent")) == 11


def test_a_runtime_directory_behind_a_link_is_named_by_its_real_path(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "link"))
    assert Layout.of(tmp_path / "root").run.parent == tmp_path / "real"


def test_roots_never_share_a_runtime_directory_or_a_machine_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    one, two = Layout.of(tmp_path / "one"), Layout.of(tmp_path / "two")
    assert one.run != two.run
    assert one.machine("h-a") != two.machine("h-a")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert Layout.of(tmp_path / "link") == one


def test_socket_paths_fit_into_108_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000000")
    layout = Layout(tmp_path, Layout.of(tmp_path / ("x" * 200)).run, "-12345678")
    assert len(os.fsencode(layout.agent_run("k" * 12) / "model" / "model.sock")) < 108


def test_a_runtime_directory_of_another_is_refused(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "target")
    with pytest.raises(UnsafeDirectory, match="remove it"):
        Layout(tmp_path, tmp_path / "run", "-x").make_run()


def test_the_system_root_is_one_layout_for_every_user(monkeypatch):
    as_root = Layout.of(SYSTEM_ROOT)
    monkeypatch.setattr(os, "geteuid", lambda: 999)
    assert Layout.of(SYSTEM_ROOT) == as_root == Layout(SYSTEM_ROOT, SYSTEM_RUN, "")


def test_the_system_runtime_directory_is_only_used_by_others_than_root(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 999)
    with pytest.raises(UnsafeDirectory, match="start hive-c0re first"):
        Layout(tmp_path, tmp_path / "missing", "").make_run()
    if os.getuid() == 0:
        (tmp_path / "run").mkdir(mode=0o751)
        Layout(tmp_path, tmp_path / "run", "").make_run()
        assert (tmp_path / "run").stat().st_mode & 0o7777 == 0o751


def test_the_environment_may_name_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("HIVE_ROOT", str(tmp_path))
    assert Layout.of().root == tmp_path.resolve()


def test_making_the_runtime_directory_again_never_opens_it(tmp_path):
    run = tmp_path / "run"
    layout = Layout(tmp_path, run, "-x")
    layout.make_run()
    run.chmod(0o500)
    layout.make_run()
    assert run.stat().st_mode & 0o777 == 0o500
    run.chmod(0o777)
    layout.make_run()
    assert run.stat().st_mode & 0o777 == 0o700
