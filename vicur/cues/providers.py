"""What a cue provider is.

A provider turns an example into a visual cue: text that says what is to be seen in the image and is relevant to the
question. Ideally S = f(X), a function of image and question alone, so that a student can in principle recover all that
its teacher knows.

To add one: write a class that fits :class:`CueProvider`, give it a section in ``vicur.config.cues`` with a ``type``
of its own, and name both in :func:`provider_for`. The audit holds for every provider alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vicur.config.cues import AnnotationCues, CueProviderConfig, EndpointCues, PixelCues

if TYPE_CHECKING:
    from vicur.data.schema import Example
    from vicur.stage.runner import Context


@dataclass(frozen=True)
class NoCue:
    """An example that a provider has no cue for."""

    reason: str
    """Why, so that equal reasons can be counted: nothing that differs from one example to the next."""


class CueProvider(Protocol):
    """Makes cues. Deterministic, as far as what it asks is: the same examples give the same cues on every machine."""

    name: str
    """What it is called in configuration and results."""
    fitted_on: tuple[str, ...]
    """Splits whose examples :meth:`fit` wants to see."""

    @property
    def fingerprint(self) -> str:
        """What the cues depend on beside the example and this project's code: what was fitted, which model is asked."""
        ...

    def fit(self, examples: Iterable[Example]) -> None:
        """Learns from examples, truth included, before the first cue is asked for.

        Raises:
            VicurError: where the examples do not hold what the provider learns from.
        """
        ...

    def cues(self, examples: Sequence[Example]) -> Iterator[str | NoCue]:
        """For each example, in order, its cue or why it has none.

        Raises:
            VicurError: where no cue can be had of anything.
        """
        ...


class AnnotationProvider:
    """Takes the cue that the dataset brings along."""

    name: str = "annotation"
    fitted_on: tuple[str, ...] = ()
    fingerprint: str = "dataset"

    def fit(self, examples: Iterable[Example]) -> None:
        """Has nothing to learn."""

    def cues(self, examples: Sequence[Example]) -> Iterator[str | NoCue]:
        """The ``cue`` field of each example."""
        return map(self.cue, examples)

    def cue(self, example: Example) -> str | NoCue:
        """The example's ``cue`` field."""
        cue = (example.cue or "").strip()
        return cue or NoCue("the example has no cue of its own")


def provider_for(config: CueProviderConfig, context: Context) -> CueProvider:
    """The provider that a configuration names, not yet fitted.

    Args:
        config: which.
        context: the stage's: seed, and where what has been asked for is kept.

    Raises:
        VicurError: where the provider needs what is not installed, or the place of kept cues cannot be used.
    """
    match config:
        case AnnotationCues():
            return AnnotationProvider()
        case PixelCues():
            from vicur.cues.pixels import PixelProvider

            return PixelProvider()
        case EndpointCues():
            from vicur.cues.cue_cache import CueCache
            from vicur.cues.endpoint import EndpointProvider

            return EndpointProvider(config, context.seed, CueCache.at(context.shared, context.shared_at))
