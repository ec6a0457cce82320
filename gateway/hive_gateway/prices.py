"""What tokens cost by the list prices that the claude CLI applies. Pure.

An account may pay less. For a model that is not listed here the dearest present family counts.
"""

from __future__ import annotations

from typing import NamedTuple

from hive_wire.protocol import Usage


class Price(NamedTuple):
    """USD per million tokens."""

    input: float
    output: float


# The first that the model's name begins with.
_PRICES = (
    ("claude-opus-4-0", Price(15, 75)),
    ("claude-opus-4-1", Price(15, 75)),
    ("claude-opus-4-2025", Price(15, 75)),
    ("claude-3-opus", Price(15, 75)),
    ("claude-opus-", Price(5, 25)),
    ("claude-3-5-haiku", Price(0.8, 4)),
    ("claude-haiku-", Price(1, 5)),
    ("claude-sonnet-", Price(3, 15)),
    ("claude-3-", Price(3, 15)),
)
_UNKNOWN = Price(5, 25)
CACHE_READ, CACHE_WRITE = 0.1, 1.25  # of the price of input


def usd(model: str, usage: Usage) -> float:
    """USD of one answer of `model`."""
    price = next((price for name, price in _PRICES if model.startswith(name)), _UNKNOWN)
    read = usage.input_tokens + CACHE_READ * usage.cache_read_tokens
    read += CACHE_WRITE * usage.cache_write_tokens
    return (read * price.input + usage.output_tokens * price.output) / 1e6
