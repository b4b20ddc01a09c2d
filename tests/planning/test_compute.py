"""Planned operations agree with PyTorch's counter on the real model, and epochs with the trainer's batches.

Attention runs with the math backend, because PyTorch's counter does not know the fused CPU kernel.
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
from vicur.training.order import BatchOrder, RowGroups

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


def test_text_operations_match_the_flop_counter(model: Qwen3VLForConditionalGeneration) -> None:
    ids = torch.full((1, TOKENS), 20)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        hidden = model.model.language_model(input_ids=ids, use_cache=False)[0]
        forward = counter.get_total_flops()
        hidden.sum().backward()
    assert text_flops(MIDSIZE, SIZES, TOKENS) == pytest.approx(forward, rel=0.01)
    backward = counter.get_total_flops() - forward
    assert 2 * text_flops(MIDSIZE, SIZES, TOKENS) == pytest.approx(backward, rel=0.01)


def test_operations_of_the_output_layer_match_the_flop_counter(model: Qwen3VLForConditionalGeneration) -> None:
    with FlopCounterMode(display=False) as counter:
        model.lm_head(torch.randn(1, RESPONSE, 256))
    assert head_flops(MIDSIZE, RESPONSE) == counter.get_total_flops()


@torch.no_grad()
def test_vision_operations_match_the_flop_counter(model: Qwen3VLForConditionalGeneration) -> None:
    grid = torch.tensor([[1, 4 * MERGE, IMAGE_TOKENS // 4 * MERGE]])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.model.get_image_features(torch.randn(IMAGE_TOKENS * MERGE**2, 96), grid)
    assert vision_flops(plan(), MIDSIZE, SIZES) == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_cue_recovery_costs_a_small_share_of_prefill() -> None:
    share = recovery_flops(plan_of("midsize"), MIDSIZE) / text_flops(MIDSIZE, SIZES, PROMPT)
    assert 0 < share < 0.1
    assert recovery_flops(plan(), MIDSIZE) == 0


def test_backward_costs_two_forwards_and_checkpointing_one_more() -> None:
    lengths = longest_lengths(plan())
    saved = step_work(plan(), MODELS, lengths)
    recomputed = step_work(plan(gradient_checkpointing=True), MODELS, lengths)
    assert saved.backward == 2 * saved.forward
    assert recomputed.forward == 2 * saved.forward
    assert recomputed.backward == saved.backward
    assert saved.forward == plan().sequences * text_flops(MIDSIZE, SIZES, TOKENS)


def test_frozen_weights_halve_the_backward() -> None:
    lengths = longest_lengths(plan())
    assert step_work(plan(trained="lora"), MODELS, lengths).backward == step_work(plan(), MODELS, lengths).forward


def test_the_output_layer_of_the_teacher_is_counted_once_for_a_divergence() -> None:
    lengths = longest_lengths(plan())
    k1, divergence = (step_work(plan(objective=o), MODELS, lengths) for o in ("k1", "forward_kl"))
    projected = plan().sequences * head_flops(MIDSIZE, RESPONSE)
    assert divergence.loss == k1.loss == 4 * projected
    assert k1.teacher - divergence.teacher == projected


def test_supervised_training_has_no_rollouts() -> None:
    supervised = plan(objective="supervised", teacher="none")
    models, lengths = Models(MIDSIZE, SIZES, MIDSIZE, None), longest_lengths(supervised)
    work, seconds = step_work(supervised, models, lengths), step_seconds(supervised, models, lengths)
    assert (work.rollout, work.teacher, seconds.rollout, seconds.teacher) == (0, 0, 0, 0)
    assert seconds.validation > 0


def test_operations_grow_with_rollouts_and_lengths() -> None:
    one, five = plan(), plan(rollouts=5)
    lengths = longest_lengths(one)
    assert step_work(five, MODELS, lengths).forward == 5 * step_work(one, MODELS, lengths).forward
    assert step_work(five, MODELS, lengths).vision == step_work(one, MODELS, lengths).vision
    assert step_work(one, MODELS, expected_lengths(one)).total < step_work(one, MODELS, lengths).total


def test_decoding_is_memory_bound_and_lasts_as_long_as_the_longest_response() -> None:
    # At 10^-6 TB/s reading the weights of the text model (4 bytes each) takes one microsecond per byte and dominates.
    hardware = Hardware(bandwidth=1e-6, bandwidth_utilisation=1, decode_overhead_ms=0, peak_tflops=1e9)
    slow = plan(hardware=hardware, mean_response_tokens=1)
    seconds = step_seconds(slow, MODELS, expected_lengths(slow))
    weights = RESPONSE * (SIZES.total - SIZES.vision) * 4 / 1e6
    assert seconds.rollout == pytest.approx(weights, rel=0.01)
    slower = slow.model_copy(update={"rollout_batch_size": 1})
    assert step_seconds(slower, MODELS, expected_lengths(slower)).rollout == pytest.approx(4 * weights, rel=0.01)


def test_a_decoding_step_takes_at_least_the_overhead() -> None:
    fast = plan(hardware=Hardware(decode_overhead_ms=25))
    assert step_seconds(fast, MODELS, longest_lengths(fast)).rollout == pytest.approx(RESPONSE * 0.025, rel=0.01)


def test_a_step_takes_the_longer_of_rollout_and_update_only_if_servers_sample_ahead() -> None:
    lengths = longest_lengths(plan())
    for engine in ("process", "inside", "server"):
        fresh, stale = (step_seconds(plan(staleness=n, rollout_engine=engine), MODELS, lengths) for n in (0, 1))
        others = fresh.vision + fresh.teacher + fresh.update
        assert fresh.step == pytest.approx(fresh.rollout + others)
        expected = max(fresh.rollout, others) if engine == "server" else fresh.step
        assert stale.step == pytest.approx(expected)


def test_epochs_match_the_batches_of_the_trainer() -> None:
    examples, batch, steps = 30, 8, 11
    order = BatchOrder(RowGroups.single(examples), batch, 0)
    uses = Counter(row for step in range(steps) for row in order.rows(step))
    planned = epochs(steps, batch, examples)
    assert sum(uses.values()) / examples == planned
    assert {min(uses.values()), max(uses.values())} <= {int(planned), int(planned) + 1}


def test_275_steps_are_the_five_epochs_of_the_paper() -> None:
    assert epochs(275, 128, 55 * 128) == 5
