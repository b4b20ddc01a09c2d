"""Checkpoints: what goes in comes out, and a damaged one is passed over."""

import copy

import pytest
import torch
from torch import nn

from vicur.training.checkpoint import Progress, load_checkpoint, save_checkpoint, trained_weights


def _trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def _progress(step: int) -> Progress:
    return Progress(step, 0.5, step, 0, [{"step": n, "loss": n / 3} for n in range(step + 1)])


def test_a_restored_training_goes_on_bit_for_bit(tmp_path):
    model, optimizer = _trained(3)
    save_checkpoint(tmp_path, model, optimizer, trained_weights(model), _progress(3), keep=2)
    other, other_optimizer = _trained(0)
    progress, best = load_checkpoint(tmp_path, other, other_optimizer)
    assert progress == _progress(3)
    assert torch.equal(best["weight"], model.weight)
    for m, o in ((model, optimizer), (other, other_optimizer)):
        o.zero_grad()
        m(torch.ones(4, 3)).square().mean().backward()
        o.step()
    assert torch.equal(model.weight, other.weight)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, file):
    model, optimizer = _trained(1)
    first = copy.deepcopy(trained_weights(model))
    save_checkpoint(tmp_path, model, optimizer, first, _progress(1), keep=2)
    model, optimizer = _trained(2)
    save_checkpoint(tmp_path, model, optimizer, first, _progress(2), keep=2)
    path = tmp_path / "step-000002" / file
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    progress, _ = load_checkpoint(tmp_path, model, optimizer)
    assert progress.step == 1
    assert torch.equal(model.weight, first["weight"])
    assert "step-000002 is damaged" in caplog.text


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    model, optimizer = _trained(1)
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, model, optimizer, {}, _progress(step), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000002", "step-000003"]


def test_nothing_to_resume_from_is_no_error(tmp_path):
    model, optimizer = _trained(0)
    assert load_checkpoint(tmp_path, model, optimizer) is None
