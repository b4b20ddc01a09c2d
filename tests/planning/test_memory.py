"""Planned memory agrees with real weights, gradients, optimizer states and activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextDecoderLayer

from tests.planning.factory import IMAGE_TOKENS, MERGE, PATCH, PROMPT, RESPONSE, plan_of, save_midsize
from vicur.config.recovery import CueRecoverySettings
from vicur.modeling import load_model, with_cue_recovery
from vicur.modeling.cache_argument import cache_argument
from vicur.modeling.chat import Pixels
from vicur.modeling.divergence import weighted_divergence
from vicur.modeling.kv_cache import preallocated_cache
from vicur.modeling.scoring import ResponseStates
from vicur.modeling.tiles import TileSizes
from vicur.modeling.token_logprobs import token_logprobs
from vicur.modeling.vision import ImageFeatures, encode_images, encoder_outputs
from vicur.planning.activations import text_activations, vision_activations
from vicur.planning.architecture import architecture_of
from vicur.planning.footprint import LiveBytes, Precision, decoder_layer_footprint
from vicur.planning.inputs import PlanInput
from vicur.planning.memory import loss_bytes, student_memory, teacher_memory
from vicur.planning.model import models_of
from vicur.planning.parts import Part, Phase, peak
from vicur.planning.resident import state_bytes
from vicur.training.objectives import forward_kl

ROWS = 4
# The plan neglects indices of visual tokens and small reductions, which matter less at real sizes.
TOLERANCE = 0.02
GIB = 2**30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_midsize(tmp_path_factory.mktemp("midsize"))


def student_of(folder: Path, *, recovery: bool = True) -> Qwen3VLForConditionalGeneration:
    base = load_model(folder).train()
    return with_cue_recovery(base, CueRecoverySettings(interval=2), seed=0) if recovery else base


def random_images() -> list[Pixels]:
    height, width = 4, IMAGE_TOKENS // 4
    grid = (1, height * MERGE, width * MERGE)
    shape = (IMAGE_TOKENS * MERGE**2, 3 * 2 * PATCH**2)
    return [Pixels(f"{n}", partial(torch.randn, shape), grid, IMAGE_TOKENS) for n in range(ROWS)]


def batch() -> dict[str, Any]:
    """Return a batch of rows of maximum length, one of them padded, so that the mask is needed as in real batches."""
    tokens = PROMPT + RESPONSE
    ids = torch.full((ROWS, tokens), 20)
    ids[:, 1], ids[:, 2 + IMAGE_TOKENS] = 3, 4
    ids[:, 2 : 2 + IMAGE_TOKENS] = 5
    mask = torch.ones_like(ids)
    mask[0, -1] = 0
    return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": (ids == 5).long(), "use_cache": False}


def saved_bytes(model: nn.Module, forward: Callable[[], Sequence[Tensor]]) -> int:
    """Return the bytes of the outputs of ``forward`` and of the tensors that autograd saves in it, without weights."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    saved: dict[int, Tensor] = {}  # by storage, so that shared storages count once

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        for tensor in forward():
            pack(tensor)
    return sum(tensor.untyped_storage().nbytes() for key, tensor in saved.items() if key not in weights)


def text_forward(model: Qwen3VLForConditionalGeneration) -> Callable[[], tuple[Tensor]]:
    images = random_images()
    with torch.no_grad():
        features: dict[str, ImageFeatures] = encode_images(model, images)
    grids = torch.tensor([image.grid for image in images])
    encoded = {"mm_encoder_outputs": encoder_outputs(features, images), "image_grid_thw": grids}
    return lambda: (model.model(**batch(), **encoded)[0],)


def test_weights_gradients_and_optimizer_states_match_to_the_byte(folder: Path) -> None:
    student = student_of(folder)
    optimizer = torch.optim.AdamW(student.parameters())
    for parameter in student.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moments = [v for state in optimizer.state.values() for name, v in state.items() if name != "step"]
    plan = plan_of(folder)
    planned = state_bytes(plan, models_of(plan).sizes)

    def total(tensors: list[Tensor]) -> int:
        return sum(t.numel() * t.element_size() for t in tensors)

    assert planned[Part.WEIGHTS] == total(list(student.parameters()))
    assert planned[Part.GRADIENTS] == total([p.grad for p in student.parameters() if p.grad is not None])
    assert planned[Part.OPTIMIZER] == total(moments)


def test_a_frozen_vision_tower_has_no_gradients(folder: Path) -> None:
    student = student_of(folder)
    student.model.visual.requires_grad_(requires_grad=False)
    trained = sum(p.numel() for p in student.parameters() if p.requires_grad)
    plan = plan_of(folder, train_vision=False)
    assert state_bytes(plan, models_of(plan).sizes)[Part.GRADIENTS] == 4 * trained


@pytest.mark.parametrize("recovery", [False, True])
def test_text_activations_match_what_autograd_saves(folder: Path, recovery: bool) -> None:
    student = student_of(folder, recovery=recovery)
    measured = saved_bytes(student, text_forward(student))
    plan = plan_of(folder, **({} if recovery else {"recovery": None}))
    assert text_activations(plan, models_of(plan))[0] == pytest.approx(measured, rel=TOLERANCE)


def test_text_activations_match_under_autocast_without_the_cast_weights(folder: Path) -> None:
    student = student_of(folder, recovery=False)
    forward = text_forward(student)
    with torch.autocast("cpu", torch.bfloat16):
        measured = saved_bytes(student, forward)
    plan = plan_of(folder, recovery=None, mixed_precision="bf16")
    models = models_of(plan)
    copies = 2 * models.sizes.text_layers * models.sizes.text_linear
    assert text_activations(plan, models)[0] + copies == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_peak_of_forward_and_backward_matches(folder: Path, checkpointing: bool) -> None:
    student = student_of(folder)
    if checkpointing:
        student.activation_checkpointing_enable()
    for parameter in student.parameters():
        parameter.register_post_accumulate_grad_hook(drop_gradient)
    forward = text_forward(student)
    with LiveBytes() as live:
        (hidden_BTH,) = forward()
        saved = live.now
        hidden_BTH.backward(torch.ones_like(hidden_BTH))
    plan = plan_of(folder, gradient_checkpointing=checkpointing)
    planned, extra = text_activations(plan, models_of(plan))
    assert planned == pytest.approx(saved, rel=TOLERANCE)
    # The plan is slightly above: what the last norm saved is freed before the backward of the layers reaches its peak.
    assert live.peak <= planned + extra <= 1.06 * live.peak


def drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


def test_vision_activations_match_what_autograd_saves(folder: Path) -> None:
    student = student_of(folder)
    images = random_images()

    def forward() -> list[Tensor]:
        return [t for f in encode_images(student, images).values() for t in (f.tokens_NH, *f.deepstack_NH)]

    measured = saved_bytes(student, forward)
    plan = plan_of(folder)
    assert vision_activations(plan, models_of(plan))[0] == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("mixed_precision", ["none", "bf16"])
@torch.no_grad()
def test_kv_cache_matches_to_the_byte(folder: Path, mixed_precision: str) -> None:
    student = student_of(folder)
    cache = preallocated_cache(student.config.text_config.num_hidden_layers, PROMPT + RESPONSE)
    ids = torch.full((ROWS, PROMPT), 20)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision == "bf16"):
        student.model.language_model(input_ids=ids, **cache_argument(cache), use_cache=True)
    storages = [t.untyped_storage().nbytes() for layer in cache.layers for t in (layer.keys, layer.values)]
    plan = plan_of(folder, mixed_precision=mixed_precision)
    planned = student_memory(plan, models_of(plan))[Phase.ROLLOUT][Part.KV_CACHE]
    # Half of the keys of a layer, copied before the others are freed.
    assert planned == sum(storages) + storages[0] // 2


@pytest.mark.parametrize("objective", ["k1", "forward_kl"])
def test_the_loss_stays_within_its_planned_memory(folder: Path, objective: str) -> None:
    tokens, sizes = ROWS * RESPONSE, TileSizes.suited_to(torch.device("cuda"))
    states = ResponseStates(
        torch.randn(tokens, 256, requires_grad=True),
        torch.randint(512, (tokens,)),
        torch.ones(ROWS, RESPONSE, dtype=torch.bool),
        torch.randn(512, 256, requires_grad=True),
    )
    forbidden = torch.tensor([1, 2])
    with LiveBytes() as live:
        if objective == "k1":
            ids_N1 = states.targets_N[:, None]
            token_logprobs(states.hidden_NH, states.head_VH, ids_N1, forbidden, sizes)[0].sum().backward()
        else:
            weights_N = torch.ones(tokens)
            weighted_divergence(states, states, forward_kl, weights_N, forbidden, sizes).loss.backward()
    plan = plan_of(folder, objective=objective)
    planned = loss_bytes(plan, models_of(plan))
    inputs = (2 if objective == "forward_kl" else 1) * tokens * 256 * 4
    assert 0.5 * planned < live.peak + inputs <= planned


def plan_8b(**fields: Any) -> PlanInput:
    values = {
        "student": "8B",
        "steps": 275,
        "batch_size": 128,
        "max_prompt_tokens": 2048,
        "max_response_tokens": 4096,
        "gpus": 8,
        "strategy": "fsdp",
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "micro_batch_size": 1,
        **fields,
    }
    return PlanInput.model_validate(values)


def test_sharding_divides_weights_and_optimizer_by_the_number_of_gpus() -> None:
    alone, shared = plan_8b(gpus=1, batch_size=16), plan_8b()
    models = models_of(alone)
    one = student_memory(alone, models)[Phase.UPDATE]
    eight = student_memory(shared, models)[Phase.UPDATE]
    for part in (Part.WEIGHTS, Part.OPTIMIZER):
        assert eight[part] == one[part] // 8
    # The frozen vision tower of the teacher is not sharded.
    tower = 2 * models.sizes.vision
    assert eight[Part.TEACHER] == tower + (one[Part.TEACHER] - tower) // 8


def test_a_frozen_vision_tower_of_the_student_is_not_sharded() -> None:
    alone, shared = plan_8b(gpus=1, batch_size=16, train_vision=False), plan_8b(train_vision=False)
    models = models_of(alone)
    one, eight = (student_memory(plan, models)[Phase.UPDATE][Part.WEIGHTS] for plan in (alone, shared))
    tower = 2 * models.sizes.vision
    assert eight == tower + (one - tower) // 8


def test_ddp_replicates_everything_on_each_gpu() -> None:
    alone, shared = plan_8b(gpus=1, batch_size=16, strategy="ddp"), plan_8b(strategy="ddp")
    models = models_of(alone)
    one, eight = student_memory(alone, models), student_memory(shared, models)
    # A single GPU frees its gradients after the update, DDP keeps them in its buckets.
    assert Part.GRADIENTS not in one[Phase.ROLLOUT]
    for phase in (Phase.ROLLOUT, Phase.VALIDATION):
        assert eight[phase].pop(Part.GRADIENTS) == one[Phase.UPDATE][Part.GRADIENTS]
    # With less memory left, a validation answers fewer questions at once.
    assert eight.pop(Phase.VALIDATION)[Part.KV_CACHE] <= one.pop(Phase.VALIDATION)[Part.KV_CACHE]
    assert one == eight


@pytest.mark.parametrize(
    ("change", "phase"),
    [
        ({"micro_batch_size": 2}, Phase.UPDATE),
        ({"gradient_checkpointing": False}, Phase.UPDATE),
        ({"mixed_precision": "none"}, Phase.UPDATE),
        ({"objective": "forward_kl"}, Phase.UPDATE),
        ({"teacher": "ema"}, Phase.UPDATE),
        ({"max_response_tokens": 8192}, Phase.ROLLOUT),
        ({"rollouts": 5}, Phase.ROLLOUT),
        ({"teacher": "checkpoint", "teacher_model": "32B"}, Phase.TEACHER),
    ],
)
def test_costly_settings_raise_the_memory_of_their_phase(change: dict[str, Any], phase: Phase) -> None:
    before, after = plan_8b(), plan_8b(**change)
    less = student_memory(before, models_of(before))[phase]
    more = student_memory(after, models_of(after))[phase]
    assert sum(more.values()) > sum(less.values())


def test_lora_with_an_adapter_off_teacher_needs_no_teacher_weights_and_a_small_optimizer() -> None:
    plan = plan_8b(trained="lora", teacher="adapter_off", train_vision=False)
    memory = student_memory(plan, models_of(plan))[Phase.UPDATE]
    assert Part.TEACHER not in memory
    assert memory[Part.OPTIMIZER] < GIB


def test_a_teacher_on_separate_gpus_takes_no_memory_of_the_student() -> None:
    plan = plan_8b(gpus=4, teacher_gpus=4, teacher="checkpoint", teacher_model="32B")
    models = models_of(plan)
    student, teacher = student_memory(plan, models), teacher_memory(plan, models)
    assert Phase.TEACHER not in student
    assert Part.TEACHER not in student[Phase.UPDATE]
    assert models.teacher_sizes is not None
    assert teacher[Phase.TEACHER][Part.TEACHER] == 2 * models.teacher_sizes.total


def test_the_peak_is_the_highest_phase() -> None:
    plan = plan_8b()
    memory = student_memory(plan, models_of(plan))
    phase, size = peak(memory)
    assert size == max(sum(parts.values()) for parts in memory.values())
    assert size == sum(memory[phase].values())


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_extrapolated_footprint_matches_a_measured_one(rows: int) -> None:
    config, precision = architecture_of("tiny").text, Precision(torch.float32)
    config._attn_implementation = "sdpa"
    extrapolated = decoder_layer_footprint(config, rows, 30, precision)
    with FakeTensorMode(), torch.enable_grad():
        layer = Qwen3VLTextDecoderLayer(config, layer_idx=0)
        hidden_BTH = torch.empty(rows, 30, config.hidden_size, requires_grad=True)
        angles_BTD = torch.empty(rows, 30, 32)
        mask_B1TT = torch.ones(rows, 1, 30, 30, dtype=torch.bool)
        with LiveBytes() as live:
            out = layer(hidden_BTH, position_embeddings=(angles_BTD, angles_BTD), attention_mask=mask_B1TT)
            assert extrapolated.saved == live.now
            del out
        with LiveBytes() as live, torch.no_grad():
            layer(hidden_BTH, position_embeddings=(angles_BTD, angles_BTD), attention_mask=mask_B1TT)
            assert extrapolated.forward_peak == live.peak
