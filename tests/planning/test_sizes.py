"""Parameter counts agree with the real models and with the paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.modeling import load_model, parameter_count, with_cue_recovery
from vicur.planning.architecture import architecture_of, published_config, published_sizes
from vicur.planning.sizes import model_sizes, published_recovery_parameters


@pytest.mark.parametrize("size", ["2B", "4B", "8B", "32B"])
def test_published_architectures_have_the_published_parameters(size: str) -> None:
    assert model_sizes(published_config(size), None).total == published_sizes()[size]


@pytest.mark.parametrize(("size", "millions", "share", "dead_layers"), [("2B", 100.7, 4.52, 0), ("8B", 536.9, 5.77, 1)])
def test_cue_recovery_has_the_size_reported_in_the_paper(
    size: str, millions: float, share: float, dead_layers: int
) -> None:
    config = published_config(size)
    backbone = model_sizes(config, None)
    published = published_recovery_parameters(config, interval=5)
    assert round(published / 1e6, 1) == millions
    assert round(100 * published / (backbone.total + published), 2) == share
    # Ours has two norms, and no module on the last layer, whose output at the sink is not read by any later layer.
    hidden = config.text_config.hidden_size
    ours = model_sizes(config, CueRecoverySettings())
    assert ours.recovery == published + 2 * hidden - dead_layers * 4 * hidden**2
    assert ours.total == backbone.total + ours.recovery


def test_parts_add_up_and_match_the_trained_model() -> None:
    architecture = architecture_of("tiny")
    settings = CueRecoverySettings(interval=2)
    sizes = model_sizes(architecture.config, settings)
    base = load_model(Path(__file__).parents[2] / "vicur/modeling/tiny/base")
    counted = parameter_count(with_cue_recovery(base, settings, seed=0))
    assert (sizes.total, sizes.recovery) == (counted.total, counted.cue_recovery)
    assert sizes.head == 0
    layers = sizes.text_layers * sizes.text_layer + sizes.vision_blocks * sizes.vision_block
    assert sizes.root + layers + sizes.recovery == sizes.total


def test_an_untied_output_layer_is_counted_separately() -> None:
    sizes = model_sizes(published_config("8B"), None)
    assert sizes.head == sizes.embedding == 151_936 * 4096


@pytest.mark.parametrize(
    ("model", "hidden"), [("8B", 4096), ("2b", 2048), ("/models/Qwen3-VL-32B-Instruct", 5120), ("tiny", 96)]
)
def test_a_model_is_found_by_size_by_folder_name_and_by_folder(model: str, hidden: int) -> None:
    assert architecture_of(model).text.hidden_size == hidden


COMMIT = "2b" * 20


@pytest.mark.parametrize(
    "address",
    [
        f"hf://Qwen/Qwen3-VL-8B-Instruct@{COMMIT}",
        "s3://models/Qwen3-VL-8B-Instruct/",
        f"s3://models/Qwen3-VL-8B-Instruct@sha256:{'2b' * 32}",
        "pvc://claim/Qwen3-VL-8B-Instruct",
    ],
)
def test_a_model_at_an_address_is_planned_for_by_its_name(address: str) -> None:
    found = architecture_of(address)
    assert (found.name, found.absent) == ("Qwen3-VL-8B", address)


def test_the_architecture_records_that_the_folder_does_not_exist() -> None:
    assert architecture_of("/models/Qwen3-VL-8B-Instruct").absent == "/models/Qwen3-VL-8B-Instruct"
    assert architecture_of("8B").absent is None


@pytest.mark.parametrize("model", ["/models/mine", "/models/Qwen3-VL-7B", "/models/2B-or-8B"])
def test_a_model_of_unknown_size_is_rejected_with_the_known_sizes(model: str) -> None:
    with pytest.raises(VicurError, match="2B, 4B, 8B, 32B"):
        architecture_of(model)


def test_a_checkpoint_of_another_architecture_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(VicurError, match="llama"):
        architecture_of(str(tmp_path))
