"""The noise of k1: its gradient compared with that of the reverse KL, which it estimates, on the same rollouts.

    python -m benchmarks.objective_noise [--batches 128] [--batch-size 32]

The signal is the mean gradient of the reverse KL over the first half of the batches. The second half is compared with it, so that no batch
is compared with itself: mean cosine of a batch's gradient, cosine of the mean gradient, and noise over signal, which is the standard
deviation of the batches' gradients over the norm of the mean without noise (from the product of both halves' means).
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vicur.config.base import BaseModelConfig
from vicur.config.data import DigitScenesConfig
from vicur.config.objective import K1, ReverseKl
from vicur.config.sampling import Sampling
from vicur.config.training import TrainConfig
from vicur.data.digit_scenes import build_pools
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.modeling.scoring import response_states, text_config
from vicur.modeling.vision import encode_images
from vicur.training.batch import objective_loss, teacher_scores
from vicur.training.examples import TrainingExample
from vicur.training.objectives import token_weights
from vicur.training.order import BatchOrder
from vicur.training.selection import training_examples


def gradients(model: torch.nn.Module, chat: Chat, rows: list[TrainingExample], seed: int) -> dict[str, Tensor]:
    """Return the flattened gradients of both objectives for one batch of rollouts."""
    forbidden = chat.forbidden_ids(text_config(model).vocab_size)
    features = encode_images(model, [image for row in rows for image in row.student.pixels])
    shared = {key: value.detach() for key, value in features.items()}
    answers = [
        a.ids for a in generate(model, chat, [r.student for r in rows], Sampling(), seed=seed, encode=lambda _: shared)
    ]
    with torch.no_grad():
        teacher = response_states(model, chat.collate([r.teacher for r in rows], answers), shared)
    student = response_states(model, chat.collate([r.student for r in rows], answers), features)
    weights_BR = token_weights(student.mask_BR)
    losses = {
        objective.type: objective_loss(
            objective, student, weights_BR, forbidden, teacher=teacher_scores(objective, teacher, forbidden)
        ).value
        for objective in (K1(), ReverseKl())
    }
    parameters = [p for p in model.parameters() if p.requires_grad]
    return {
        name: torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)])
        for name, loss in losses.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = BaseModelConfig().folder
    chat, model = Chat.load(folder), load_model(folder)
    pool = build_pools(DigitScenesConfig(), 0)["distill"]
    config = TrainConfig(method="opsd-cue")
    examples, _ = training_examples(pool, {e.id: str(e.cue) for e in pool}, chat, config)
    order = BatchOrder(examples.groups, arguments.batch_size, seed=0)
    results = [
        gradients(model, chat, [examples[n] for n in order.rows(step)], step) for step in range(arguments.batches)
    ]
    half = len(results) // 2
    signal = torch.stack([m["reverse_kl"] for m in results[:half]]).mean(0)
    table = Table(
        "objective", "cosine, one batch", f"cosine, {len(results) - half} batches", "noise / signal of a batch"
    )
    for name in ("k1", "reverse_kl"):
        first, second = (torch.stack([m[name] for m in part]) for part in (results[:half], results[half:]))
        one = torch.cosine_similarity(second, signal[None]).mean()
        noise = (second - second.mean(0)).square().sum(-1).sum() / (len(second) - 1)
        table.add_row(
            name,
            f"{one:.2f}",
            f"{torch.cosine_similarity(second.mean(0), signal, dim=0):.2f}",
            f"{(noise / (first.mean(0) @ second.mean(0))).sqrt():.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
