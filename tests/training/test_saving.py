"""The precision of the saved student: rounding that is unbiased and seeded, and the share of weights that it changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.training.factory import examples_for, state_for
from tests.training.train_once import SETTINGS, train_once
from vicur.config.training import MASTERS
from vicur.modeling import load_model, save_model
from vicur.training.checkpoint import trained_weights
from vicur.training.saving import cast_stochastically, changed_share, stochastic_bfloat16
from vicur.training.state import final_student
from vicur.training.step import training_step


def test_stochastic_rounding_keeps_updates_in_expectation() -> None:
    base = torch.tensor([1.0, -3.0, 0.01, 1e-20]).bfloat16().float()
    # A tenth of the distance to the next value of bfloat16, away from zero.
    wanted = base + 0.1 * (base.bfloat16().view(torch.int16) + 1).view(torch.bfloat16).float().sub(base)
    samples = torch.stack([stochastic_bfloat16(wanted, seed).float() for seed in range(4000)])
    assert torch.equal(wanted.bfloat16().float(), base), "rounding to the nearest loses all of it"
    assert ((samples - base).mean(0) / (wanted - base)).tolist() == pytest.approx([1.0] * 4, abs=0.2)
    assert all(len(column.unique()) == 2 for column in samples.T)


def test_values_of_bfloat16_and_the_largest_ones_stay() -> None:
    exact = torch.randn(1000).bfloat16()
    assert torch.equal(stochastic_bfloat16(exact.float(), 1), exact)
    largest = torch.tensor([torch.finfo(torch.bfloat16).max, -torch.finfo(torch.bfloat16).max])
    assert stochastic_bfloat16(largest, 1).isfinite().all()


def test_rounding_depends_on_the_seed_alone() -> None:
    def cast(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
        torch.rand(seed + 1)
        cast_stochastically(model, seed)
        return [weight.detach() for weight in model.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(cast(3), cast(3), strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(cast(3), cast(4), strict=True))
    assert {weight.dtype for weight in cast(3)} == {torch.bfloat16}


def test_saved_type_is_as_asked_and_stochastic_rounding_changes_more_weights(base, tmp_path) -> None:
    save_model(load_model(base, dtype=torch.bfloat16), tmp_path / "base", chat_folder=base)
    shares = {}
    for kind in ("float32", "bfloat16", "stochastic"):
        state = state_for(tmp_path / "base", method="opsd", learning_rate=1e-6, warmup_steps=0, save_dtype=kind)
        training_step(state, examples_for(state)[:2], 0)
        student = final_student(state, state.world.collect(trained_weights(state.student)), tmp_path / "base")
        assert {w.dtype for w in student.parameters()} == {torch.float32 if kind == "float32" else torch.bfloat16}
        save_model(student, tmp_path / kind, chat_folder=base)
        shares[kind] = changed_share(load_model(tmp_path / kind), tmp_path / "base")
    assert 0 < shares["bfloat16"] < shares["stochastic"] < 1
    assert shares["float32"] == shares["bfloat16"]


def test_mixed_precision_from_a_bfloat16_base_is_saved_stochastically(base, tmp_path) -> None:
    save_model(load_model(base, dtype=torch.bfloat16), tmp_path / "base", chat_folder=base)
    saved = []
    for settings in ({}, {"save_dtype": "stochastic"}, {"save_dtype": "bfloat16"}):
        state = state_for(tmp_path / "base", method="opsd", mixed_precision="bf16", **settings)
        weights = state.world.collect({n: w + 1e-6 for n, w in trained_weights(state.student).items()})
        saved.append(final_student(state, weights, tmp_path / "base").state_dict())
    default, stochastic, nearest = saved
    assert all(torch.equal(default[name], stochastic[name]) for name in default)
    assert not all(torch.equal(default[name], nearest[name]) for name in default)


def test_masters_are_the_weights_before_rounding_and_none_are_kept_of_a_float32_student(base, tmp_path) -> None:
    save_model(load_model(base, dtype=torch.bfloat16), tmp_path / "base", chat_folder=base)
    kept: list[dict[str, torch.Tensor]] = []

    def keep(student: nn.Module) -> None:
        kept.append({name: weight.clone() for name, weight in student.state_dict().items()})

    for kind, masters in (("stochastic", 1), ("float32", 0)):
        kept.clear()
        state = state_for(tmp_path / "base", method="opsd", learning_rate=1e-6, warmup_steps=0, save_dtype=kind)
        training_step(state, examples_for(state)[:2], 0)
        trained = state.world.collect(trained_weights(state.student))
        saved = final_student(state, trained, tmp_path / "base", with_masters=keep).state_dict()
        assert len(kept) == masters
        for weights in kept:
            assert all(torch.equal(weights[name], weight) for name, weight in trained.items())
            assert any(not torch.equal(weights[name], saved[name].float()) for name in trained)


def test_a_training_keeps_its_masters_in_a_checkpoint_beside_the_student(inputs, tmp_path) -> None:
    settings = SETTINGS.model_copy(update={"steps": 1, "save_dtype": "bfloat16", "save_masters": True})
    student = train_once(inputs, tmp_path, settings)
    saved, masters = load_model(student), load_model(student / MASTERS)
    assert (saved.dtype, masters.dtype) == (torch.bfloat16, torch.float32)
    assert all(torch.equal(w.bfloat16(), saved.state_dict()[name]) for name, w in masters.state_dict().items())
    assert (student / MASTERS / "tokenizer.json").is_file()
