"""Fixtures to run commands in this process, in an empty project without tracking."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calling import Command, caller
from vicur.tracking.tracker import Tracker

SMALL = """
data:
  type: digit_scenes
  base: {digits_per_class: 2, scenes: 2}
  distill: {digits_per_class: 4, scenes: 6}
  validation: {digits_per_class: 2, scenes: 2}
  test: {digits_per_class: 2, scenes: 3}
  ood: {digits_per_class: 2, scenes: 2}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vicur.stage.session.open_tracker", lambda *_: Tracker())
    monkeypatch.setattr("vicur.stage.session.finish_pipeline", lambda *_: None)
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


@pytest.fixture
def vicur(project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    del project
    return caller(monkeypatch, capfd)
