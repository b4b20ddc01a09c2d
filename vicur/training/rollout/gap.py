"""How far another engine is from the trainer: both tell the log-probabilities of the same tokens."""

from __future__ import annotations

from torch import Tensor

from vicur.errors import VicurError
from vicur.training.metrics import Metrics

MEAN, MAX = "rollout/logprob_gap_mean", "rollout/logprob_gap_max"


def engine_gap(drawn_BR: Tensor, student_BR: Tensor, mask_BR: Tensor) -> Metrics:
    """Mean and maximum of |log q(y_n) - log p_theta(y_n)| over tokens, in nats, before the first update on them.

    A student whose own log-probability is no number is at fault itself: such a token does not count here, and the loss tells of it.

    Args:
        drawn_BR: log q, of the engine that drew the tokens.
        student_BR: log p_theta, of the trainer's forward.
        mask_BR: true at tokens of a response.
    """
    apart_N = (drawn_BR - student_BR)[mask_BR & ~student_BR.isnan()].abs()
    tally = Metrics()
    if len(apart_N):
        tally.average(MEAN, float(apart_N.sum()), len(apart_N))
        tally.most(MAX, float(apart_N.max()))
    return tally


def require_near(metrics: dict[str, float], limit: float, step: int) -> None:
    """Refuses to learn from rollouts that the student would not have made.

    Args:
        metrics: those of the step, the gap among them.
        limit: largest mean.
        step: the step, from 0.

    Raises:
        VicurError: where the mean is larger, or no number.
    """
    if MEAN in metrics and not metrics[MEAN] <= limit:
        raise VicurError(
            f"the rollout engine's log-probabilities are {metrics[MEAN]:.2g} nats a token from the trainer's at step {step + 1} "
            f"(at most {metrics[MAX]:.2g}), above {limit:g}: what it samples is not what the student would say.",
            where="training.rollout.max_logprob_gap",
            remedy="In bfloat16 a gap of some hundredths is rounding: raise the limit, and set training.rollout.importance to truncated. A "
            "larger one is a fault of the engine: set training.rollout.engine to transformers. The checkpoint before this step is kept.",
        )
