"""hive up and down with every real process and real containers."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.slow]

HIVE = (sys.executable, "-m", "hive_reconciler.app.cli")


class Root:
    """One root with its own runtime directory."""

    def __init__(self, path):
        self.path = path
        self.up = None

    def hive(self, *args, timeout=55):
        done = subprocess.run(
            [*HIVE, *args, "--root", str(self.path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        return done.returncode, done.stdout, done.stderr

    def start(self):
        self.up = subprocess.Popen(
            [*HIVE, "up", "--rehearse", "--port", "0", "--root", str(self.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for text in self.up.stdout:
            if "Log in" in text:
                return
        raise AssertionError("it ended before it was ready")

    def end(self):
        """What it printed after it was ready."""
        text = self.up.communicate(timeout=40)[0]
        return self.up.returncode, text

    def port(self):
        return int((self.path / "dashboard" / "port").read_text())

    def pids(self):
        """Processes that name this root."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if os.fsencode(self.path) in command:
                    found.append(int(entry.name))
        return found


@pytest.fixture
def make_root(tmp_path):
    roots = []

    def make(name):
        roots.append(Root(tmp_path / name))
        return roots[-1]

    yield make
    for root in roots:
        if root.path.exists():
            root.hive("down")
        if root.up is not None and root.up.poll() is None:
            root.up.kill()
            root.up.communicate()


def gone(root, seconds=15):
    """Wait until no process names this root."""
    deadline = time.monotonic() + seconds
    while root.pids() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not root.pids()


def test_two_roots_side_by_side_each_ends_alone(make_root):
    one, two = make_root("one"), make_root("two")
    one.start()
    two.start()
    for root in (one, two):
        status, text, words = root.hive("status", "--wait")
        assert (status, words) == (0, ""), text
    status, _, words = one.hive("up", "--rehearse")
    assert status == 1
    assert f"is up already (process {one.up.pid})" in words
    assert f"hive down --root {one.path}," in words, "without it that is another swarm"
    one.up.send_signal(signal.SIGINT)
    status, text = one.end()
    assert status == 0
    assert "stopped hm1nd" in text
    assert one.pids() == []
    assert two.hive("status", "--wait")[0] == 0
    assert two.hive("down")[0] == 0
    assert two.end()[0] == 0
    assert two.pids() == []
    assert "nothing was running" in two.hive("down")[1]


def test_a_killed_up_takes_its_processes_along_and_down_finds_the_containers(make_root):
    root = make_root("one")
    root.start()
    code, *said = root.hive("status", "--wait")
    assert code == 0, said
    root.up.kill()
    root.up.communicate()
    status, text, _ = root.hive("down")
    assert status == 0
    assert "stopped hm1nd" in text
    assert gone(root)


def test_a_killed_reconciler_finds_its_containers_again(make_root):
    root = make_root("one")
    root.start()
    assert root.hive("status", "--wait")[0] == 0
    shim = {pid for pid in root.pids() if "nspawn" in Path(f"/proc/{pid}/comm").read_text()}
    children = Path(f"/proc/{root.up.pid}/task/{root.up.pid}/children").read_text().split()
    victim = next(
        pid for pid in children if b"app.daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(int(victim), signal.SIGKILL)
    for text in root.up.stdout:
        if "reconciler ended (SIGKILL)" in text:
            break
    for _ in range(100):
        status, text, _ = root.hive("status", "--wait")
        if status == 0:
            break
    assert status == 0, text
    assert shim <= set(root.pids())
    root.up.send_signal(signal.SIGTERM)
    assert root.end()[0] == 0
    assert root.pids() == []


def test_a_detached_up_returns_when_it_is_ready(make_root):
    root = make_root("one")
    (root.path / "logs").mkdir(parents=True)
    status, text, words = root.hive("up", "--rehearse", "--port", "0", "--detach")
    assert (status, words) == (0, "")
    assert "http://127.0.0.1:" in text
    assert (root.path / "logs").stat().st_mode & 0o777 == 0o700, "the link is in there, too"
    assert root.hive("status", "--wait")[0] == 0
    assert root.hive("down")[0] == 0
    assert root.pids() == []


def test_the_dashboard_gets_its_options(make_root):
    root = make_root("one")
    status, _, words = root.hive(
        *("up", "--rehearse", "--port", "0", "--detach", "--allowed-host", "hive.example.org"),
        *("--base-path", "/hive", "--proxy", "127.0.0.1", "--proxy-user-header", "Remote-User"),
    )
    assert (status, words) == (0, "")
    assert root.hive("users", "add", "ana")[0] == 0

    def page(**headers):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", root.port())) as asked:
            asked.request("GET", "/sessions", headers=headers)
            answer = asked.getresponse()
            return answer.status, answer.read().decode()

    ours, ana = {"Host": "hive.example.org"}, {"Remote-User": "ana"}
    status, text = page(**ours, **ana)
    assert (status, "ana" in text, 'href="/hive/' in text) == (200, True, True)
    assert page(**ours, **{"Remote-User": "bob"})[0] == 403
    assert page(**ours)[0] == 303
    status, text = page(Host="other.example.org", **ana)
    assert (status, "hive up --allowed-host NAME" in text) == (421, True)


def test_no_link_goes_to_the_journal(make_root):
    root = make_root("one")
    reading, writing = os.pipe()
    pipe = os.fstat(writing)
    root.up = subprocess.Popen(
        [*HIVE, "up", "--rehearse", "--port", "0", "--root", str(root.path)],
        stdout=writing,
        stderr=writing,
        env={**os.environ, "JOURNAL_STREAM": f"{pipe.st_dev}:{pipe.st_ino}"},
    )
    os.close(writing)
    with open(reading) as said:
        for text in said:
            assert "#" not in text
            if "for a link to the page: hive login" in text:
                break
        else:
            raise AssertionError("it ended before it was ready")
        root.up.send_signal(signal.SIGTERM)
        assert "#" not in said.read()
    assert root.up.wait(40) == 0


def test_rehearse_on_an_old_root_says_that_it_changes_nothing(make_root):
    root = make_root("one")
    root.hive("up", "--rehearse", "--port", "0", "--detach")
    root.hive("down")
    status, text, _ = root.hive("up", "--rehearse", "--port", "0", "--detach")
    assert status == 0
    assert "--rehearse changes nothing" in text


def test_a_wrong_runtime_is_refused_at_once(make_root):
    status, _, words = make_root("one").hive("up", "--runtime", "process")
    assert status == 1
    assert "nspawn" in words
