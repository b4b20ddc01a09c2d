"""What the paper tracks while a student trains: where the teacher and the student part, and whether the hint leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vicur.answers import hint_leaks
from vicur.modeling.positions import CuePositions
from vicur.modeling.recovery import CueRecovery
from vicur.training.metrics import Metrics

_SEGMENTS = ("quarter_1", "quarter_2", "quarter_3", "quarter_4")


def logprob_gap(teacher_BR: Tensor, student_BR: Tensor, mask_BR: Tensor) -> Metrics:
    """Teacher minus student log-prob of the sampled tokens, in nats a token: whole response, halves, quarters.

    Token n of a response of length N lies in quarter floor(4 n / N). Segments are averaged over all tokens of the batch that lie in them;
    one that no token lies in (responses of fewer than four tokens) is left out.
    """
    gap_BR = (teacher_BR - student_BR).detach()
    length_B1 = mask_BR.sum(-1, keepdim=True).clamp(min=1)
    place_BR = mask_BR.cumsum(-1) - 1
    quarter_BR = torch.div(4 * place_BR, length_B1, rounding_mode="floor")
    parts = {"whole": mask_BR, "half_1": mask_BR & (quarter_BR < 2), "half_2": mask_BR & (quarter_BR >= 2)}
    parts |= {name: mask_BR & (quarter_BR == n) for n, name in enumerate(_SEGMENTS)}
    tally = Metrics()
    for name, part in parts.items():
        tally.average(f"gap/{name}", float(gap_BR[part].sum()), int(part.sum()))
    return tally


def hint_leakage(texts: Sequence[str]) -> Metrics:
    """Responses that hold the whole word "Hint", in any case, and how often they hold it (the paper's two counts)."""
    counts = [hint_leaks(text) for text in texts]
    tally = Metrics()
    tally.add("leakage/samples", sum(count > 0 for count in counts))
    tally.add("leakage/occurrences", sum(counts))
    return tally


def epoch_leakage(
    records: Sequence[Mapping[str, float]], step: int, batch_size: int, examples: int
) -> dict[str, float]:
    """The counts of :func:`hint_leakage` summed over an epoch (the paper's table), at the step that ends one.

    A step belongs to the epoch that its batch begins in.

    Args:
        records: metrics of the steps so far, with their number (from 1) under ``step``.
        step: number of the newest.
        batch_size: prompts a step.
        examples: prompts an epoch.

    Returns:
        ``leakage/epoch``, counted from 1, with its sums; empty where the epoch goes on or nothing was sampled.
    """
    epoch = (step - 1) * batch_size // examples
    if step * batch_size // examples == epoch:
        return {}
    mine = [r for r in records if "leakage/samples" in r and (int(r["step"]) - 1) * batch_size // examples == epoch]
    if not mine:
        return {}
    return {
        "leakage/epoch": float(epoch + 1),
        "leakage/epoch_samples": sum(r["leakage/samples"] for r in mine),
        "leakage/epoch_occurrences": sum(r["leakage/occurrences"] for r in mine),
    }


def reward_metrics(rewards_GN: Tensor) -> Metrics:
    """Mean and spread of the rewards of N responses to each of G prompts, and the share of groups that agree: those teach nothing."""
    agree_G = (rewards_GN == rewards_GN[:, :1]).all(dim=-1)
    tally = Metrics()
    tally.average("reward/mean", float(rewards_GN.sum()), rewards_GN.numel())
    tally.average("reward/std", float(rewards_GN.std(dim=-1).sum()), len(rewards_GN))
    tally.average("reward/groups_without_signal", int(agree_G.sum()), len(rewards_GN))
    return tally


class RecoveryNorms:
    """Reads how strong cue recovery is, while it is entered: norm of its update of a sink over the norm of the sink's state.

    Args:
        model: any model; one without the module tells nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        self._module = next((m for m in model.modules() if isinstance(m, CueRecovery)), None)
        self._hook: RemovableHandle | None = None
        self._ratios: list[Tensor] = []

    def __enter__(self) -> RecoveryNorms:
        if self._module is not None:
            self._hook = self._module.register_forward_hook(self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hook is not None:
            self._hook.remove()

    def tally(self) -> Metrics:
        """The mean over sinks and layers; empty where there was none."""
        tally = Metrics()
        if self._ratios:
            ratios = torch.cat(self._ratios)
            tally.average("recovery/update_ratio", float(ratios.sum()), len(ratios))
        return tally

    @torch.no_grad()
    def _read(self, module: CueRecovery, args: tuple[Any, ...], output_BTH: Tensor) -> None:
        positions: CuePositions = args[0]
        layer, hidden_BTH = args[1], args[2]
        if str(layer) not in module.layers:
            return
        before_SH = hidden_BTH.flatten(0, 1)[positions.sinks_S].float()
        update_SH = output_BTH.flatten(0, 1)[positions.sinks_S].float() - before_SH
        self._ratios.append(update_SH.norm(dim=-1) / before_SH.norm(dim=-1))
