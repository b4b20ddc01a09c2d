"""Rollouts that are sampled one step ahead (``training.staleness: 1``).

The responses of batch t + 1 are sampled with the weights before update t. Servers sample them while the processes of the training score
and update. An engine in these processes samples them before the update, which gives the same responses and saves no time.

Responses that wait for their update belong to the state of a training: their weights no longer exist when it resumes. Checkpoints contain
the responses rather than these weights, which are as large as the student, and whose servers would not repeat them bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from vicur.modeling.chat import Chat
from vicur.modeling.generation import Response
from vicur.training.examples import TrainingExample
from vicur.training.responses import Responses, sample, scored_rollouts
from vicur.training.state import TrainState

Rows = Sequence[TrainingExample]


@dataclass(frozen=True, eq=False)
class _Pending:
    """This rank's responses to a batch that no update has used yet."""

    step: int  # number of the batch
    responses: list[Response]


class OneStepOff:
    """The rollouts of a training that samples one step ahead. All ranks call its methods together.

    Args:
        rows_of: returns this rank's rows of a batch. Called once for each batch, in order.
    """

    def __init__(self, state: TrainState, rows_of: Callable[[int], Rows]) -> None:
        self._state = state
        self._rows_of = rows_of
        self._rows: dict[int, Rows] = {}
        self._pending: _Pending | None = None
        self._sampling: tuple[int, Future[tuple[list[Response], float]]] | None = None
        on_servers = state.config.rollout.on_servers
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollout") if on_servers else None

    def rows(self, step: int) -> Rows:
        """Return this rank's rows of batch ``step``."""
        if step not in self._rows:
            self._rows = {n: rows for n, rows in self._rows.items() if n == step - 1} | {step: self._rows_of(step)}
        return self._rows[step]

    def responses(self, step: int) -> Responses:
        """Return the responses to batch ``step``: those sampled ahead, or new ones if there are none."""
        pending, self._pending, rows = self._pending, None, self.rows(step)
        if pending is not None and pending.step == step:
            return scored_rollouts(self._state, rows, pending.responses, stale=True)
        self._state.engine.update(step)
        sampled = self._sample(rows, step)
        self._state.engine.release()
        return scored_rollouts(self._state, rows, sampled)

    def begin(self, step: int) -> None:
        """Begin to sample the responses to batch ``step`` with the student's weights of now, which are those after ``step - 1`` updates.

        Does nothing after the last batch. If the engine is in this process, the responses are complete on return.
        """
        if step >= self._state.config.steps:
            return
        rows = self.rows(step)
        self._state.engine.update(step - 1)
        if self._thread is not None:
            self._sampling = step, self._thread.submit(self._timed, rows, step)
            return
        self._pending = _Pending(step, self._sample(rows, step))
        self._state.engine.release()

    def finish(self) -> dict[str, float]:
        """Wait for the responses that are being sampled. Returns the seconds that servers have taken for them, as a metric.

        Raises:
            VicurError: if the engine has failed.
        """
        sampling, self._sampling = self._sampling, None
        if sampling is None:
            return {}
        step, future = sampling
        responses, seconds = future.result()
        self._pending = _Pending(step, responses)
        self._state.engine.release()
        return {"seconds/rollout_beside": seconds}

    def state(self) -> dict[str, Tensor]:
        """Return the waiting responses of all ranks, on rank 0, for a checkpoint that any number of ranks can resume from."""
        pending = self._pending
        if pending is None:
            return {}
        of_ranks = [self._by_prompt(own) for own in self._state.world.gather(pending.responses)]
        if not self._state.world.is_main:
            return {}
        # Rank r has every size-th prompt, starting at the r-th.
        responses = [response for prompts in zip(*of_ranks, strict=True) for group in prompts for response in group]
        return _packed(pending.step, responses)

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Continue with the waiting responses of :meth:`state`, which rank 0 passes; the other ranks pass nothing."""
        world = self._state.world
        found = world.broadcast(_unpacked(saved, self._state.chat) if world.is_main and saved else None)
        if found is not None:
            own = world.shard(self._by_prompt(found.responses))
            self._pending = _Pending(found.step, list(chain.from_iterable(own)))

    def close(self) -> None:
        """Stop waiting for responses that are being sampled."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _by_prompt(self, responses: list[Response]) -> list[list[Response]]:
        each = self._state.config.responses_per_prompt
        return [responses[n : n + each] for n in range(0, len(responses), each)]

    def _sample(self, rows: Rows, step: int) -> list[Response]:
        # Without the features of the update, which come from other weights. No graph of a trained tower is kept for them.
        return sample(self._state, rows, step, self._state.vision.frozen_encoder)

    def _timed(self, rows: Rows, step: int) -> tuple[list[Response], float]:
        started = time.perf_counter()
        return self._sample(rows, step), time.perf_counter() - started


@contextmanager
def one_step_off(state: TrainState, rows_of: Callable[[int], Rows]) -> Iterator[OneStepOff | None]:
    """Yield the rollouts of a training that samples one step ahead; ``None`` if it samples on policy."""
    if not state.config.staleness:
        yield None
        return
    ahead = OneStepOff(state, rows_of)
    try:
        yield ahead
    finally:
        ahead.close()


def _packed(step: int, responses: Sequence[Response]) -> dict[str, Tensor]:
    return {
        "step": torch.tensor(step),
        "lengths": torch.tensor([len(response.ids) for response in responses]),
        "ids": torch.tensor([token for response in responses for token in response.ids]),
        # Servers return more digits than float32 has.
        "logprobs": torch.tensor([each for response in responses for each in response.logprobs], dtype=torch.float64),
        "finished": torch.tensor([response.finished for response in responses]),
    }


def _unpacked(saved: Mapping[str, Tensor], chat: Chat) -> _Pending:
    lengths = saved["lengths"].tolist()
    parts = zip(
        (tuple(part.tolist()) for part in saved["ids"].split(lengths)),
        (tuple(part.tolist()) for part in saved["logprobs"].split(lengths)),
        saved["finished"].tolist(),
        strict=True,
    )
    return _Pending(int(saved["step"]), [Response(ids, chat.decode(ids), logs, ended) for ids, logs, ended in parts])
