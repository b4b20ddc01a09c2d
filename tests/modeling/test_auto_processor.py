"""A student's folder as transformers' ``AutoProcessor`` reads it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoProcessor

from tests.training.factory import save_random_base
from vicur.config.recovery import CueRecoverySettings
from vicur.modeling import load_model, save_model, with_cue_recovery


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    base = save_random_base(folder / "base")
    model = with_cue_recovery(load_model(base), CueRecoverySettings(interval=2), 0)
    save_model(model, folder / "student", chat_folder=base, record={})
    return folder / "student"


def test_the_processor_of_a_student_is_that_of_qwen3_vl(student: Path) -> None:
    if find_spec("torchvision") is None:
        # Not a tokenizer, which would silently ignore images.
        with pytest.raises(ImportError, match=r"[Tt]orchvision"):
            AutoProcessor.from_pretrained(student)
    else:
        processor = AutoProcessor.from_pretrained(student)
        assert type(processor).__name__ == "Qwen3VLProcessor"
        assert processor.image_processor is not None
