"""Checkpoints: exact round trips, detection of damage, and full disks."""

import errno

import pytest
import torch
from torch import nn

from tests.full_disk import full_disk
from vicur.errors import VicurError
from vicur.training.checkpoint import (
    Checkpoint,
    Progress,
    optimizer_state,
    read_checkpoint,
    restore,
    restore_optimizer,
    trained_weights,
    write_checkpoint,
)
from vicur.training.world import World

ALONE = World.single("cpu")


def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model[0].requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(model[1].parameters(), lr=0.1)
    for _ in range(steps):
        _update(model, optimizer)
    return model, optimizer


def _update(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(4, 3)).square().mean().backward()
    optimizer.step()


def checkpoint_of(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, **identity: object) -> Checkpoint:
    weights = ALONE.collect(trained_weights(model))
    progress = Progress(step, 0.5, step, 0, [{"step": n, "loss": n / 3} for n in range(step + 1)])
    return Checkpoint(
        progress, identity, weights, weights, optimizer_state(model, optimizer, ALONE), {"average": torch.ones(2)}
    )


def test_restored_training_continues_bit_for_bit(tmp_path):
    model, optimizer = trained(3)
    written = checkpoint_of(model, optimizer, 3, seed=1)
    write_checkpoint(written, tmp_path)
    found = read_checkpoint(tmp_path)
    assert (found.progress, found.identity) == (written.progress, {"seed": 1})
    assert torch.equal(found.extra["average"], torch.ones(2))
    other, other_optimizer = trained(0)
    restore(found.model, trained_weights(other), ALONE)
    restore_optimizer(other, other_optimizer, found.optimizer, ALONE)
    for _ in range(2):
        _update(model, optimizer)
        _update(other, other_optimizer)
    assert torch.equal(model[1].weight, other[1].weight)


def test_only_trained_weights_are_saved():
    model, _ = trained(1)
    assert set(trained_weights(model)) == {"1.weight", "1.bias"}


def test_weights_of_another_model_are_rejected_and_change_nothing():
    model, _ = trained(1)
    before = ALONE.collect(trained_weights(model))
    with pytest.raises(VicurError, match=r"not those that this training trains \(0.weight, 1.bias\)"):
        restore({"0.weight": torch.ones(3, 3), "1.weight": torch.ones(2, 3)}, trained_weights(model), ALONE)
    assert all(torch.equal(w, before[n]) for n, w in trained_weights(model).items())


@pytest.mark.parametrize("file", ["model", "optimizer", "best", "extra", "state"])
def test_damaged_or_missing_file_gives_none(tmp_path, file):
    write_checkpoint(checkpoint_of(*trained(1), 1), tmp_path)
    (path,) = tmp_path.glob(f"{file}.*")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert read_checkpoint(tmp_path) is None
    path.unlink()
    assert read_checkpoint(tmp_path) is None
    path.write_bytes(whole)
    assert read_checkpoint(tmp_path) is not None


def test_full_disk_raises_oserror(tmp_path):
    weights = {"weight": torch.zeros(1 << 16)}
    made = Checkpoint(Progress(1, 0.0, 0, 0, []), {}, weights, weights, {})
    with full_disk(1 << 16), pytest.raises(OSError, match="File too large") as caught:
        write_checkpoint(made, tmp_path)
    assert caught.value.errno == errno.EFBIG
