"""The one retry policy: repeat what failed temporarily, with random pauses that grow, a bounded number of times.

Only a :class:`~vicur.errors.VicurError` that is ``retryable`` is repeated. An invalid input fails at once, and a signal ends a pause.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from vicur.errors import VicurError
from vicur.processes.signals import sigterms

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """Number of retries, and the pauses before them in seconds.

    Attributes:
        first: longest pause before the first retry. Half of it is random; the other half doubles with each retry.
        longest: longest pause before any retry.
        give_up: total of the pauses after which the next failure is final. The work itself may take days, so it does not count.
    """

    retries: int
    first: float = 20.0
    longest: float = 300.0
    give_up: float = 1800.0

    @property
    def attempts(self) -> int:
        """Number of attempts, including the first."""
        return self.retries + 1


def retried(action: Callable[[], T], policy: RetryPolicy, report: Callable[[str], object]) -> T:
    """Return the result of ``action``, repeated after temporary failures.

    Args:
        report: receives a line before each pause, such as ``attempt 2 of 4 in 17 s: MLflow does not respond.``

    Raises:
        VicurError: the last failure, if it is final or no attempt is left.
    """
    # A step without retries, such as each step of a local run, does not pay for this import.
    if policy.retries == 0:
        return action()
    from tenacity import Retrying, retry_if_exception
    from tenacity.wait import wait_exponential, wait_random

    def announce(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        seconds = state.next_action.sleep if state.next_action else 0.0
        report(f"attempt {state.attempt_number + 1} of {policy.attempts} in {seconds:.0f} s: {error}")
        _release_memory(error)

    received = sigterms()

    def is_temporary(error: BaseException) -> bool:
        # Work that SIGTERM stopped is retryable, but not by the process that was to end.
        return isinstance(error, VicurError) and error.retryable and sigterms() == received

    half = policy.first / 2
    # Random, so that steps which lost the same server do not all return to it at the same moment.
    pauses = wait_exponential(multiplier=half, max=policy.longest - half) + wait_random(0, half)
    retrying = Retrying(
        retry=retry_if_exception(is_temporary),
        stop=lambda state: state.attempt_number >= policy.attempts or state.idle_for >= policy.give_up,
        wait=pauses,
        before_sleep=announce,
        reraise=True,
    )
    result: T = retrying(action)
    return result


def _release_memory(error: BaseException | None) -> None:
    # The frames of the failed attempt would keep its model and optimizer in memory beside those of the next one.
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()
