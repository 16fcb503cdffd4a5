"""Cards by name: what a program can allocate on them, and how fast they are at most."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

GIB = 2**30


@dataclass(frozen=True)
class Card:
    """One GPU.

    Attributes:
        memory: bytes that a program sees, which is less than the name says.
        flops: of dense bfloat16 matrix products per second, as the data sheet says.
        bandwidth: bytes per second between the card's memory and its processors, as the data sheet says.
    """

    memory: int
    flops: float
    bandwidth: float


CARDS = MappingProxyType(
    {
        "RTX4090-24GB": Card(int(23.5 * GIB), 165e12, 1.01e12),
        "L40S-48GB": Card(int(44.4 * GIB), 362e12, 0.864e12),
        "A100-80GB": Card(int(79.1 * GIB), 312e12, 2.04e12),
        "H100-80GB": Card(int(79.1 * GIB), 989e12, 3.35e12),
        "H200-141GB": Card(int(139.8 * GIB), 989e12, 4.8e12),
        "B200-180GB": Card(int(178.3 * GIB), 2250e12, 7.7e12),
    }
)
