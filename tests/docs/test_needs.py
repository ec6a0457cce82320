"""A suite of root that lacks a program is red, not shorter."""

from __future__ import annotations

import pytest
from support import needs


@pytest.mark.parametrize(("user", "strict"), [(0, False), (1000, True)])
def test_a_lack_fails(monkeypatch: pytest.MonkeyPatch, user: int, strict: bool) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    if strict:
        monkeypatch.setenv(needs.STRICT, "1")
    with pytest.raises(pytest.fail.Exception, match="not installed: no-such-program"):
        needs.need("sh", "no-such-program")


def test_a_user_may_lack_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.delenv(needs.STRICT, raising=False)
    with pytest.raises(pytest.skip.Exception):
        needs.need("no-such-program")
    needs.need("sh")
