"""What agents used and the broker does not know yet. Pure."""

from __future__ import annotations

from pydantic import Field

from hive_wire.protocol import Frame, Uid, Usage


class Report(Frame):
    """The params of `usage`. The same `uid` and `at` again is the same report."""

    uid: Uid
    usage: Usage
    usd: float = 0.0  # what that costs by list prices
    at: float  # unix seconds


class Kept(Frame):
    """The ledger as a file."""

    sent: tuple[Report, ...]
    unsent: dict[Uid, Usage]
    unsent_usd: dict[Uid, float] = Field(default_factory=dict)


class Ledger:
    """At most two entries an agent: a report that may have been sent, whose numbers must not
    change any more, and what came since."""

    def __init__(self, kept: Kept | None = None) -> None:
        self._sent = {report.uid: report for report in kept.sent} if kept else {}
        self._unsent = dict(kept.unsent) if kept else {}
        self._usd = dict(kept.unsent_usd) if kept else {}

    @classmethod
    def parse(cls, data: bytes) -> Ledger:
        """Raises ValueError."""
        return cls(Kept.model_validate_json(data))

    def encode(self) -> bytes:
        sent = tuple(self._sent.values())
        kept = Kept(sent=sent, unsent=self._unsent, unsent_usd=self._usd)
        return kept.model_dump_json().encode()

    def add(self, uid: str, usage: Usage, usd: float) -> None:
        self._unsent[uid] = _sum(self._unsent.get(uid, Usage()), usage)
        self._usd[uid] = self._usd.get(uid, 0.0) + usd

    def seal(self, now: float) -> list[Report]:
        """Reports to send, oldest first. What they hold is final."""
        for uid in [uid for uid in self._unsent if uid not in self._sent]:
            usage, usd = self._unsent.pop(uid), self._usd.pop(uid, 0.0)
            self._sent[uid] = Report(uid=uid, usage=usage, usd=usd, at=now)
        return sorted(self._sent.values(), key=lambda report: report.at)

    def confirm(self, report: Report) -> None:
        """The broker has it."""
        self._sent.pop(report.uid, None)

    def __bool__(self) -> bool:
        return bool(self._sent or self._unsent)


def _sum(a: Usage, b: Usage) -> Usage:
    return Usage(**{field: getattr(a, field) + getattr(b, field) for field in Usage.model_fields})
