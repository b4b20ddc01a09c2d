"""A recorder in place of the stages, and artifacts for components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from tests.components.recorder import Artifacts, Recorder


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr("vicur.steps.stage_step.run_step", recorder)
    return recorder


@pytest.fixture
def artifact(tmp_path: Path) -> Artifacts:
    """Makes artifacts below the test's folder."""

    def make(name: str, kind: type[dsl.Artifact] = dsl.Artifact, **metadata: str) -> Any:
        return kind(name=name, uri=str(tmp_path / name), metadata=metadata)

    return make
