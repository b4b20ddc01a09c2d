"""The memory of this process, as Linux counts it."""

from __future__ import annotations

import sys

import pytest

from vicur.processes.resident_memory import peak_resident_bytes, reset_peak, resident_bytes

SIZE = 64 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_counts_memory_that_is_freed_again_until_it_is_reset() -> None:
    before = resident_bytes()
    held = bytes(SIZE)
    filled = bytearray(held)
    del held, filled
    assert peak_resident_bytes() - before > 0.9 * SIZE
    reset_peak()
    assert peak_resident_bytes() - resident_bytes() < SIZE // 4
