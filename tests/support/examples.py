"""How many examples of a property are tried."""

from __future__ import annotations

import os

QUICK = "HIVE_QUICK" in os.environ


def examples(most: int) -> int:
    """So many; a fifth of them in a quick check."""
    return max(1, most // 5) if QUICK else most
