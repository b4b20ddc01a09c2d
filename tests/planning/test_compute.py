"""Operations are those that torch counts on the real model; steps and epochs are the trainer's.

Attention is counted as plain products (the math backend): torch knows no operations of the CPU's fused kernel.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3VLForConditionalGeneration

from tests.planning.factory import IMAGE_TOKENS, MERGE, PROMPT, RESPONSE, midsize_config, plan_of
from vicur.planning.architecture import Architecture
from vicur.planning.compute import (
    expected_lengths,
    head_flops,
    longest_lengths,
    recovery_flops,
    step_seconds,
    step_work,
    text_flops,
    vision_flops,
)
from vicur.planning.inputs import Hardware, PlanInput
from vicur.planning.model import Models
from vicur.planning.plan import epochs
from vicur.planning.sizes import model_sizes
from vicur.training.examples import batch_rows

MIDSIZE = Architecture("midsize", midsize_config())
SIZES = model_sizes(MIDSIZE.config, None)
MODELS = Models(MIDSIZE, SIZES, MIDSIZE, SIZES)
TOKENS = PROMPT + RESPONSE


def plan(**fields: object) -> PlanInput:
    return plan_of("midsize", recovery=None, **fields)


@pytest.fixture(scope="module")
def model() -> Qwen3VLForConditionalGeneration:
    torch.manual_seed(0)
    return Qwen3VLForConditionalGeneration(midsize_config())


def test_text_operations_are_those_that_torch_counts(model: Qwen3VLForConditionalGeneration) -> None:
    ids = torch.full((1, TOKENS), 20)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        hidden = model.model.language_model(input_ids=ids, use_cache=False)[0]
        forward = counter.get_total_flops()
        hidden.sum().backward()
    assert text_flops(MIDSIZE, SIZES, TOKENS) == pytest.approx(forward, rel=0.01)
    backward = counter.get_total_flops() - forward
    assert 2 * text_flops(MIDSIZE, SIZES, TOKENS) == pytest.approx(backward, rel=0.01)


def test_the_output_layers_operations_are_those_that_torch_counts(model: Qwen3VLForConditionalGeneration) -> None:
    with FlopCounterMode(display=False) as counter:
        model.lm_head(torch.randn(1, RESPONSE, 256))
    assert head_flops(MIDSIZE, RESPONSE) == counter.get_total_flops()


@torch.no_grad()
def test_vision_operations_are_those_that_torch_counts(model: Qwen3VLForConditionalGeneration) -> None:
    grid = torch.tensor([[1, 4 * MERGE, IMAGE_TOKENS // 4 * MERGE]])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.model.get_image_features(torch.randn(IMAGE_TOKENS * MERGE**2, 96), grid)
    assert vision_flops(plan(), MIDSIZE, SIZES) == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_cue_recovery_is_a_small_share_of_a_prompt() -> None:
    given = plan_of("midsize")
    share = recovery_flops(given, MIDSIZE) / text_flops(MIDSIZE, SIZES, PROMPT)
    assert 0 < share < 0.1
    assert recovery_flops(plan(), MIDSIZE) == 0


def test_a_backward_is_two_forwards_and_checkpointing_adds_one() -> None:
    lengths = longest_lengths(plan())
    kept = step_work(plan(), MODELS, lengths)
    again = step_work(plan(gradient_checkpointing=True), MODELS, lengths)
    assert kept.backward == 2 * kept.forward
    assert again.forward == 2 * kept.forward
    assert again.backward == kept.backward
    assert kept.forward == plan().sequences * text_flops(MIDSIZE, SIZES, TOKENS)


def test_frozen_weights_save_the_backwards_second_half() -> None:
    lengths = longest_lengths(plan())
    assert step_work(plan(trained="lora"), MODELS, lengths).backward == step_work(plan(), MODELS, lengths).forward


def test_a_divergence_projects_the_teachers_states_in_the_loss_rather_than_before() -> None:
    lengths = longest_lengths(plan())
    k1, divergence = (step_work(plan(objective=o), MODELS, lengths) for o in ("k1", "forward_kl"))
    projected = plan().sequences * head_flops(MIDSIZE, RESPONSE)
    assert divergence.loss == k1.loss == 4 * projected
    assert k1.teacher - divergence.teacher == projected


def test_supervised_training_has_no_rollouts() -> None:
    given = plan(objective="supervised", teacher="none")
    models = Models(MIDSIZE, SIZES, MIDSIZE, None)
    work, seconds = (
        step_work(given, models, longest_lengths(given)),
        step_seconds(given, models, longest_lengths(given)),
    )
    assert (work.rollout, work.teacher, seconds.rollout, seconds.teacher) == (0, 0, 0, 0)
    assert seconds.validation > 0


def test_operations_grow_with_rollouts_and_lengths() -> None:
    given, more = plan(), plan(rollouts=5)
    lengths = longest_lengths(given)
    assert step_work(more, MODELS, lengths).forward == 5 * step_work(given, MODELS, lengths).forward
    assert step_work(more, MODELS, lengths).vision == step_work(given, MODELS, lengths).vision
    assert step_work(given, MODELS, expected_lengths(given)).total < step_work(given, MODELS, lengths).total


def test_decoding_is_bound_by_memory_and_waits_for_the_longest_row() -> None:
    # Bandwidth of 10^-6 TB/s: a step reads all weights of the text model, 4 bytes each, and takes so many microseconds.
    hardware = Hardware(bandwidth=1e-6, bandwidth_utilisation=1, decode_overhead_ms=0, peak_tflops=1e9)
    given = plan(hardware=hardware, mean_response_tokens=1)
    seconds = step_seconds(given, MODELS, expected_lengths(given))
    weights = RESPONSE * (SIZES.total - SIZES.vision) * 4 / 1e6
    assert seconds.rollout == pytest.approx(weights, rel=0.01)
    slower = given.model_copy(update={"rollout_batch_size": 1})
    assert step_seconds(slower, MODELS, expected_lengths(slower)).rollout == pytest.approx(4 * weights, rel=0.01)


def test_a_decoding_step_takes_its_overhead_at_least() -> None:
    given = plan(hardware=Hardware(decode_overhead_ms=25))
    assert step_seconds(given, MODELS, longest_lengths(given)).rollout == pytest.approx(RESPONSE * 0.025, rel=0.01)


def test_epochs_are_the_trainers() -> None:
    examples, batch, steps = 30, 8, 11
    taken = Counter(row for step in range(steps) for row in batch_rows(examples, batch, 0, step))
    found = epochs(steps, batch, examples)
    assert sum(taken.values()) / examples == found
    assert {min(taken.values()), max(taken.values())} <= {int(found), int(found) + 1}


def test_the_papers_epochs_are_55_steps() -> None:
    assert epochs(275, 128, 55 * 128) == 5
