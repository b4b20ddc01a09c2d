"""The table of stages is consistent with the stages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from vicur.config.base import BaseModelConfig
from vicur.config.data import DigitScenesConfig, FolderConfig, PinnedConfig
from vicur.config.training import TrainConfig
from vicur.data.sources import stage_inputs
from vicur.errors import VicurError
from vicur.stage.table import STAGES


@pytest.mark.parametrize("name", STAGES)
def test_reference_loads_its_stage(name: str) -> None:
    reference = STAGES[name].reference
    stage = reference.load()
    assert (stage.name, stage.code, stage.reusable) == (name, reference.code, reference.reusable)
    TypeAdapter(STAGES[name].section)


def test_table_imports_no_stage() -> None:
    script = (
        "import sys, vicur.stage.table as s; [e.reference.code for e in s.STAGES.values()];"
        "print([m for m in ('torch', 'transformers', 'mlflow', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_stages_have_different_code_versions() -> None:
    codes = [entry.reference.code for entry in STAGES.values()]
    assert len(set(codes)) == len(codes)


def test_folders_that_a_section_names_are_inputs(tmp_path: Path) -> None:
    (tmp_path / "examples.jsonl").write_text("{}\n")
    assert stage_inputs(FolderConfig(path=tmp_path)) == {"source": tmp_path}
    assert stage_inputs(BaseModelConfig(path=str(tmp_path))) == {"source": tmp_path}
    assert stage_inputs(DigitScenesConfig()) == stage_inputs(TrainConfig()) == {}
    assert stage_inputs(PinnedConfig(hash=f"{'0' * 32}.dir", remote="s3://bucket/dvc")) == {}
    with pytest.raises(VicurError):
        stage_inputs(FolderConfig(path=tmp_path / "nowhere"))
