"""The batches of a training: each process reads its own rows, and the next batches while a step computes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from vicur.errors import VicurError
from vicur.modeling.chat import Pixels
from vicur.training.examples import TrainingExample, TrainingExamples
from vicur.training.order import BatchOrder
from vicur.training.world import World

log = logging.getLogger(__name__)


class Batches:
    """This process's rows of each batch. If ``examples.ahead`` has threads, the next batch is decoded, and that after it
    read, while a step computes.

    Batches are functions of the step: reading ahead changes neither their rows nor their numbers.

    Args:
        order: the rows of each batch, of all processes.
        steps: number of batches. None after these is read.
        is_cached: whether the patches of an image are not needed, because its features are known.
        in_use: number of earlier batches whose patches are still needed.
    """

    def __init__(
        self,
        examples: TrainingExamples,
        order: BatchOrder,
        world: World,
        steps: int,
        is_cached: Callable[[Pixels], bool] = lambda _: False,
        in_use: int = 0,
    ) -> None:
        self._examples = examples
        self._order = order
        self._world = world
        self._steps = steps
        self._is_cached = is_cached
        self._in_use = in_use
        self._ahead = examples.ahead if examples.ahead is not None and examples.ahead.active else None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reading") if self._ahead is not None else None
        self._next: tuple[int, list[TrainingExample]] | None = None
        self._reading: Future[None] | None = None

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.shutdown(wait=False, cancel_futures=True)

    def of(self, step: int) -> list[TrainingExample]:
        """Return the rows of batch ``step`` (from 0).

        Raises:
            VicurError: if a shard of the dataset is damaged.
        """
        known, self._next = self._next, None
        rows = known[1] if known is not None and known[0] == step else self._read(step)
        if self._ahead is not None and self._reader is not None:
            self._ahead.drop_before(step - self._in_use)
            if step + 1 < self._steps:
                self._prepare(step + 1)
            if step + 2 < self._steps:
                self._reading = self._reader.submit(self._examples.load, self._rows(step + 2))
        return rows

    def _prepare(self, step: int) -> None:
        assert self._ahead is not None
        if self._reading is not None:
            # Its error, if any, is raised by the next line, which reads the same groups.
            self._reading.exception()
        try:
            rows = self._read(step)
        except VicurError as error:
            # The training may end before this batch. If it does not, reading it again raises the error.
            log.warning("Batch %d cannot be read ahead: %s", step + 1, error)
            return
        self._next = step, rows
        self._ahead.expect(step, _images(rows, self._is_cached))

    def _read(self, step: int) -> list[TrainingExample]:
        return [self._examples[number] for number in self._rows(step)]

    def _rows(self, step: int) -> list[int]:
        return self._world.shard(self._order.rows(step))


def _images(rows: Sequence[TrainingExample], is_cached: Callable[[Pixels], bool]) -> list[Pixels]:
    images = [image for row in rows for prompt in (row.student, row.teacher) for image in prompt.pixels]
    return [image for image in {image.key: image for image in images}.values() if not is_cached(image)]
