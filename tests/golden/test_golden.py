"""Our student agrees with the recorded outputs of the published implementation."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3VLConfig

from tests.golden.__main__ import main
from tests.golden.compare import compare
from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.modeling.reference import student_from_reference, student_name

PREFIX = Path(__file__).parent / "data" / "sinktrack_a"


def copy_to(folder: Path) -> Path:
    """Return the prefix of a copy that a test may modify."""
    for file in PREFIX.parent.glob(f"{PREFIX.name}_*"):
        shutil.copy(file, folder / file.name)
    return folder / PREFIX.name


def damage(prefix: Path, part: str, name: str, change: float) -> None:
    path = f"{prefix}_{part}.safetensors"
    tensors = load_file(path)
    tensors[name] = tensors[name] + change
    save_file(tensors, path)


def test_our_student_agrees_with_the_published_implementation() -> None:
    differences = compare(PREFIX)
    assert differences.with_module < 1e-5
    assert differences.without_module < 1e-5
    assert (differences.argmax, differences.generated) == (0, 0)


def test_the_golden_module_changes_the_logits() -> None:
    recorded = load_file(f"{PREFIX}_io.safetensors")
    assert (recorded["logits_last"] - recorded["logits_no_sink_last"]).abs().max() > 1e-2


def test_the_command_prints_the_differences_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(PREFIX)]) == 0
    printed = capsys.readouterr().out
    assert "module on" in printed
    assert "module off" in printed
    assert printed.endswith("agrees\n")


@pytest.mark.parametrize("name", ["logits_last", "logits_no_sink_last"])
def test_different_logits_fail_the_comparison(tmp_path: Path, name: str) -> None:
    prefix = copy_to(tmp_path)
    damage(prefix, "io", name, 2e-4)
    assert main([str(prefix)]) == 1


def test_different_generated_tokens_fail_the_comparison(tmp_path: Path) -> None:
    prefix = copy_to(tmp_path)
    damage(prefix, "io", "generated", 1)
    assert main([str(prefix)]) == 1


def test_different_module_weights_fail_the_comparison(tmp_path: Path) -> None:
    prefix = copy_to(tmp_path)
    damage(prefix, "weights", "model.language_model.sink_cross_attns.5.v_proj.weight", 0.05)
    assert main([str(prefix)]) == 1


def test_a_missing_file_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert "no golden model" in capsys.readouterr().err


def test_reference_names_are_mapped() -> None:
    below = "model.language_model."
    assert student_name(f"{below}sink_q_norm.weight") == "model.cue_recovery.query_norm.weight"
    assert student_name(f"{below}sink_kv_norm.weight") == "model.cue_recovery.visual_norm.weight"
    assert student_name(f"{below}sink_cross_attns.10.q_proj.weight") == "model.cue_recovery.layers.10.q_proj.weight"
    assert student_name(f"{below}sink_cross_attns.10.k_proj.weight") == "model.cue_recovery.layers.10.key_weight"
    assert student_name(f"{below}layers.1.mlp.up_proj.weight") == f"{below}layers.1.mlp.up_proj.weight"


def shortened(layers: int) -> tuple[Qwen3VLConfig, dict[str, torch.Tensor]]:
    """Return the golden model's first decoder layers."""
    fields = json.loads(Path(f"{PREFIX}_config.json").read_text())
    text = {**fields["text_config"], "num_hidden_layers": layers}
    config = Qwen3VLConfig(text_config=text, vision_config=fields["vision_config"], tie_word_embeddings=True)
    weights = load_file(f"{PREFIX}_weights.safetensors")
    cut = {f"model.language_model.layers.{n}." for n in range(layers, 7)}
    return config, {k: v for k, v in weights.items() if not any(k.startswith(c) for c in cut)}


def test_a_module_on_the_last_layer_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    config, weights = shortened(6)
    with caplog.at_level(logging.WARNING):
        student = student_from_reference(config, weights, CueRecoverySettings())
    assert "last decoder layer" in caplog.text
    assert list(student.model.cue_recovery.attentions()) == [0]


def test_a_module_that_is_not_dropped_causes_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    student_from_reference(*shortened(7), CueRecoverySettings())
    assert "Dropped" not in caplog.text


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("model.language_model.sink_q_norm.weight", None),
        ("model.language_model.sink_q_norm.weight", torch.ones(3)),
        ("model.language_model.sink_cross_attns.3.q_proj.weight", torch.ones(64, 64)),
        ("model.language_model.sink_cross_attns.0.gate.weight", torch.ones(64)),
    ],
)
def test_weights_that_do_not_fit_are_rejected(name: str, replacement: torch.Tensor | None) -> None:
    config, weights = shortened(7)
    weights.pop(name, None)
    if replacement is not None:
        weights[name] = replacement
    with pytest.raises(VicurError, match="do not fit"):
        student_from_reference(config, weights, CueRecoverySettings())
