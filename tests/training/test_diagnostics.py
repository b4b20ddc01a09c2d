"""The log-prob gap by segment, and hint leakage."""

import pytest
import torch

from vicur.training.diagnostics import hint_leakage, logprob_gap


def test_the_gap_is_told_for_whole_halves_and_quarters():
    teacher = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8]])
    gap = logprob_gap(teacher, torch.zeros(1, 8), torch.ones(1, 8, dtype=torch.bool))
    assert gap["gap/whole"] == 4.5
    assert (gap["gap/half_1"], gap["gap/half_2"]) == (2.5, 6.5)
    assert [gap[f"gap/quarter_{n}"] for n in (1, 2, 3, 4)] == [1.5, 3.5, 5.5, 7.5]


def test_segments_follow_each_responses_own_length_and_padding_counts_nowhere():
    teacher = torch.tensor([[1.0, 1, 3, 3, 100, 100, 100, 100], [0.0] * 8])
    mask = torch.tensor([[True] * 4 + [False] * 4, [True] * 8])
    gap = logprob_gap(teacher, torch.zeros(2, 8), mask)
    assert gap["gap/whole"] == pytest.approx(8 / 12)
    assert gap["gap/quarter_4"] == pytest.approx(3 / 3)


def test_a_segment_without_tokens_is_left_out():
    gap = logprob_gap(torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([[True, True]]))
    assert set(gap) == {"gap/whole", "gap/half_1", "gap/half_2", "gap/quarter_1", "gap/quarter_3"}


def test_leakage_counts_responses_and_occurrences_of_the_whole_word():
    counts = hint_leakage(["The Hint says 7. hint!", "hints are fine", "HINT: 3", ""])
    assert counts == {"leakage/samples": 2.0, "leakage/occurrences": 3.0}
