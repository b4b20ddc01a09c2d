"""Measure a step in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.steps.case import Case

Phases = dict[str, dict[str, float]]
"""Figures by phase, as :meth:`benchmarks.steps.meter.Meter.write` writes them."""


def measured(case: Case, module: str, arguments: Sequence[str] = ()) -> Phases:
    """Run the module of a trainer with one thread, and return its measurements by phase.

    Raises:
        SystemExit: if it fails, with the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "phases.json"
        quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
        done = subprocess.run(
            [sys.executable, "-m", module, json.dumps(asdict(case)), str(out), *arguments],
            env={**os.environ, **quiet, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join([module, *arguments])} failed:\n{done.stderr[-4000:]}")
        phases: Phases = json.loads(out.read_text(encoding="utf-8"))
        return phases
