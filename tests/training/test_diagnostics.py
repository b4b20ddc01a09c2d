"""The log-prob gap by segment, hint leakage by epoch, rewards, and the strength of cue recovery."""

import pytest
import torch

from tests.modeling import factory as model_factory
from vicur.training.diagnostics import RecoveryNorms, epoch_leakage, hint_leakage, logprob_gap, reward_metrics


def test_gap_of_whole_halves_and_quarters():
    teacher = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8]])
    gap = logprob_gap(teacher, torch.zeros(1, 8), torch.ones(1, 8, dtype=torch.bool)).compute()
    assert gap["gap/whole"] == 4.5
    assert (gap["gap/half_1"], gap["gap/half_2"]) == (2.5, 6.5)
    assert [gap[f"gap/quarter_{n}"] for n in (1, 2, 3, 4)] == [1.5, 3.5, 5.5, 7.5]


def test_segments_depend_on_each_responses_length_and_ignore_padding():
    teacher = torch.tensor([[1.0, 1, 3, 3, 100, 100, 100, 100], [0.0] * 8])
    mask = torch.tensor([[True] * 4 + [False] * 4, [True] * 8])
    gap = logprob_gap(teacher, torch.zeros(2, 8), mask).compute()
    assert gap["gap/whole"] == pytest.approx(8 / 12)
    assert gap["gap/quarter_4"] == pytest.approx(3 / 3)


def test_segment_without_tokens_does_not_appear():
    gap = logprob_gap(torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([[True, True]])).compute()
    assert set(gap) == {"gap/whole", "gap/half_1", "gap/half_2", "gap/quarter_1", "gap/quarter_3"}


def test_leakage_counts_responses_and_occurrences_of_the_whole_word():
    counts = hint_leakage(
        [(text, "") for text in ("The Hint says 7. hint!", "hints are fine", "HINT: 3", "")]
    ).compute()
    assert counts == {"leakage/samples": 2.0, "leakage/occurrences": 3.0}


def test_leakage_is_summed_over_the_steps_that_start_in_an_epoch():
    # 10 examples in batches of 4: steps 1 to 3 start in epoch 1, steps 4 and 5 in epoch 2.
    records = [{"step": n, "leakage/samples": 1.0, "leakage/occurrences": float(n)} for n in range(1, 6)]
    found = {n: epoch_leakage(records[:n], n, batch_size=4, examples=10) for n in range(1, 6)}
    assert found[1] == found[2] == found[4] == {}
    assert found[3] == {"leakage/epoch": 1, "leakage/epoch_samples": 3, "leakage/epoch_occurrences": 1 + 2 + 3}
    assert found[5] == {"leakage/epoch": 2, "leakage/epoch_samples": 2, "leakage/epoch_occurrences": 4 + 5}


def test_epoch_without_rollouts_has_no_leakage():
    assert epoch_leakage([{"step": 1, "loss": 1.0}], 1, batch_size=4, examples=4) == {}


def test_reward_metrics_include_the_share_of_groups_without_signal():
    rewards_GN = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    found = reward_metrics(rewards_GN).compute()
    assert found["reward/mean"] == 0.5
    assert found["reward/groups_without_signal"] == 0.5
    assert found["reward/std"] == pytest.approx(0.5**0.5 / 2)


def test_strength_of_cue_recovery_is_the_update_over_the_sinks_state():
    student = model_factory.student()
    arguments = model_factory.batch(
        [model_factory.chat_row(model_factory.Picture(), 12), model_factory.chat_row(model_factory.Picture(), 13, 14)]
    )
    states = {}

    def record(module, args, output):
        positions, layer, before_BTH = args
        if str(layer) in module.layers:
            sinks = [h.flatten(0, 1)[positions.sinks_S] for h in (before_BTH, output)]
            states[layer] = (sinks[1] - sinks[0]).norm(dim=-1) / sinks[0].norm(dim=-1)

    student.model.cue_recovery.register_forward_hook(record)
    norms = RecoveryNorms(student)
    with norms:
        student(**arguments)
    student(**arguments)  # outside the block
    assert norms.metrics().compute()["recovery/update_ratio"] == pytest.approx(
        float(torch.cat(list(states.values())).mean()), rel=1e-5
    )
    assert len(states) == 3
