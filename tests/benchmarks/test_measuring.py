"""What the benchmarks compute of their measurements."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.cost_curves import exponent
from benchmarks.run import Sampler
from benchmarks.steps.floor import update_floor


def test_processor_time_counts_for_the_step_whose_log_a_process_writes_to(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    busy = "import time\nwhile time.process_time() < 0.6: pass\nprint('done', flush=True)\ntime.sleep(60)"
    script = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {busy!r}], stdout=open({str(logs / 'train-vicur.log')!r}, 'w'))"
    )
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as command:
        sampler = Sampler(command.pid)
        deadline = time.monotonic() + 30
        while "done" not in _text(logs / "train-vicur.log") and time.monotonic() < deadline:
            time.sleep(0.05)
        sampler.sample(with_memory=True)
        for pid in sorted(sampler.seconds, reverse=True):
            subprocess.run(["kill", str(pid)], check=True)
    seconds = sampler.by_step()
    assert 0.5 < seconds["train-vicur"] < 2
    assert seconds["pipeline"] < 1
    assert sampler.peak["train-vicur"] > 2e6
    assert len(sampler.seconds) == 2


def test_the_exponent_of_a_power_law_is_found() -> None:
    assert exponent([1, 2, 4, 8], [3 * n**1.5 for n in (1, 2, 4, 8)]) == pytest.approx(1.5)
    assert exponent([8, 16], [5.0, 5.0]) == pytest.approx(0)


def test_the_floor_counts_products_and_optimizer() -> None:
    operations, moved = update_floor(tokens=10, context=100, hidden=4, vocab=1000, weights=50, trained=70)
    assert operations == 8 * 10 * 4 * 1000 + 6 * 50 * 100
    assert moved == 28 * 70


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
