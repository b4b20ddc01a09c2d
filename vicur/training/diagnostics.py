"""Training diagnostics: log-prob gaps, hint leakage, rewards and the strength of cue recovery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vicur.answers import hint_leaks
from vicur.errors import VicurError
from vicur.modeling.positions import CuePositions
from vicur.modeling.recovery import CueRecovery
from vicur.training.metrics import Metrics

ENGINE_GAP_MEAN, ENGINE_GAP_MAX = "rollout/logprob_gap_mean", "rollout/logprob_gap_max"
IMPORTANCE = "rollout/importance"
_SQUARE = "rollout/importance_square"
_QUARTERS = ("quarter_1", "quarter_2", "quarter_3", "quarter_4")


def logprob_gap(teacher_BR: Tensor, student_BR: Tensor, mask_BR: Tensor) -> Metrics:
    """Return teacher minus student log-prob of the sampled tokens, in nats a token, for whole responses, halves and quarters.

    Token n of a response of length N is in quarter floor(4 n / N). A segment is averaged over all of its tokens in the batch. Segments
    without tokens (in responses with fewer than four) do not appear.
    """
    gap_BR = (teacher_BR - student_BR).detach()
    length_B1 = mask_BR.sum(-1, keepdim=True).clamp(min=1)
    place_BR = mask_BR.cumsum(-1) - 1
    quarter_BR = torch.div(4 * place_BR, length_B1, rounding_mode="floor")
    segments = {"whole": mask_BR, "half_1": mask_BR & (quarter_BR < 2), "half_2": mask_BR & (quarter_BR >= 2)}
    segments |= {name: mask_BR & (quarter_BR == n) for n, name in enumerate(_QUARTERS)}
    metrics = Metrics()
    for name, segment in segments.items():
        metrics.add_mean(f"gap/{name}", float(gap_BR[segment].sum()), int(segment.sum()))
    return metrics


def engine_gap(engine_BR: Tensor, student_BR: Tensor, mask_BR: Tensor) -> Metrics:
    """Return mean and maximum of |log q(y_n) - log p_theta(y_n)| over tokens, in nats: q of the engine, p_theta of the trainer."""
    # A NaN of the student itself is not the engine's fault. The loss reports it.
    gap_N = (engine_BR - student_BR)[mask_BR & ~student_BR.isnan()].abs()
    metrics = Metrics()
    if len(gap_N):
        metrics.add_mean(ENGINE_GAP_MEAN, float(gap_N.sum()), len(gap_N))
        metrics.add_max(ENGINE_GAP_MAX, float(gap_N.max()))
    return metrics


def importance_metrics(ratios_N: Tensor, cap: float) -> dict[str, float]:
    """Return means over tokens: the importance weight, its square, and the share of weights that were truncated at ``cap``."""
    return {
        IMPORTANCE: float(ratios_N.mean()),
        _SQUARE: float(ratios_N.square().mean()),
        "rollout/truncated_share": float((ratios_N >= cap).float().mean()),
    }


def with_effective_share(metrics: Mapping[str, float]) -> dict[str, float]:
    """Replace the mean square of the importance weights, if there is one, by their effective sample size as a share of the tokens.

    (sum_n c_n)^2 / (N sum_n c_n^2), Kish's effective sample size: 1 if all weights are equal, 1 / N if one outweighs all others.
    """
    if _SQUARE not in metrics:
        return dict(metrics)
    others = {name: value for name, value in metrics.items() if name != _SQUARE}
    square = metrics[_SQUARE]
    return {**others, "rollout/effective_share": metrics[IMPORTANCE] ** 2 / square if square else 0.0}


def require_small_engine_gap(metrics: Mapping[str, float], limit: float, step: int) -> None:
    """Raise a ``VicurError`` if the mean engine gap is above the limit, or NaN: the rollouts are then not on policy."""
    # Written as a negation, so that NaN fails.
    if ENGINE_GAP_MEAN in metrics and not metrics[ENGINE_GAP_MEAN] <= limit:
        raise VicurError(
            f"at step {step + 1} the log-probabilities of rollout engine and trainer differ by {metrics[ENGINE_GAP_MEAN]:.2g} nats a token "
            f"(at most {metrics[ENGINE_GAP_MAX]:.2g}), but the limit is {limit:g}: the rollouts are not on policy.",
            where="training.rollout.max_logprob_gap",
            remedy="In bfloat16, some hundredths are rounding: raise the limit and set training.rollout.importance to truncated. A larger "
            "gap is a bug in the engine: set training.rollout.engine to transformers. The last checkpoint is from before this step.",
        )


def hint_leakage(pairs: Sequence[tuple[str, str]]) -> Metrics:
    """Count the responses that contain the word "Hint", in any case, and its occurrences (the paper's two counts).

    Each response comes with its question, whose own words are no leak.
    """
    counts = [hint_leaks(response, question) for response, question in pairs]
    metrics = Metrics()
    metrics.add_sum("leakage/samples", sum(count > 0 for count in counts))
    metrics.add_sum("leakage/occurrences", sum(counts))
    return metrics


def epoch_leakage(
    records: Sequence[Mapping[str, float]], step: int, batch_size: int, examples: int
) -> dict[str, float]:
    """Return the counts of :func:`hint_leakage` summed over an epoch (the paper's table), at the step that ends one.

    Empty if step ``step`` (from 1) does not end an epoch, or nothing was sampled in it.
    """
    # A step belongs to the epoch in which its batch starts.
    epoch = (step - 1) * batch_size // examples
    if step * batch_size // examples == epoch:
        return {}
    own = [r for r in records if "leakage/samples" in r and (int(r["step"]) - 1) * batch_size // examples == epoch]
    if not own:
        return {}
    return {
        "leakage/epoch": float(epoch + 1),
        "leakage/epoch_samples": sum(r["leakage/samples"] for r in own),
        "leakage/epoch_occurrences": sum(r["leakage/occurrences"] for r in own),
    }


def reward_metrics(rewards_GN: Tensor) -> Metrics:
    """Return mean and standard deviation of the rewards, and the share of groups whose rewards are equal (which have no gradient)."""
    equal_G = (rewards_GN == rewards_GN[:, :1]).all(dim=-1)
    metrics = Metrics()
    metrics.add_mean("reward/mean", float(rewards_GN.sum()), rewards_GN.numel())
    metrics.add_mean("reward/std", float(rewards_GN.std(dim=-1).sum()), len(rewards_GN))
    metrics.add_mean("reward/groups_without_signal", int(equal_G.sum()), len(rewards_GN))
    return metrics


class RecoveryNorms:
    """Record the strength of cue recovery inside a ``with`` block: the norm of a sink's update over the norm of its state."""

    def __init__(self, model: nn.Module) -> None:
        self._module = next((m for m in model.modules() if isinstance(m, CueRecovery)), None)
        self._hook: RemovableHandle | None = None
        self._ratios: list[Tensor] = []

    def __enter__(self) -> RecoveryNorms:
        if self._module is not None:
            self._hook = self._module.register_forward_hook(self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hook is not None:
            self._hook.remove()

    def metrics(self) -> Metrics:
        metrics = Metrics()
        # A mean over sinks and layers.
        if self._ratios:
            ratios = torch.cat(self._ratios)
            metrics.add_mean("recovery/update_ratio", float(ratios.sum()), len(ratios))
        return metrics

    @torch.no_grad()
    def _record(self, module: CueRecovery, args: tuple[Any, ...], output_BTH: Tensor) -> None:
        positions: CuePositions = args[0]
        layer, hidden_BTH = args[1], args[2]
        # The module is called after every layer and acts after some.
        if str(layer) not in module.layers:
            return
        before_SH = hidden_BTH.flatten(0, 1)[positions.sinks_S].float()
        update_SH = output_BTH.flatten(0, 1)[positions.sinks_S].float() - before_SH
        self._ratios.append(update_SH.norm(dim=-1) / before_SH.norm(dim=-1))
