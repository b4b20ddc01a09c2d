"""Cue providers: the interface, the registry, and the provider of annotated cues.

A provider turns an example into a visual cue: text that states what the image shows and is relevant to the question. Ideally S = f(X), a
function of image and question alone, so that a student can in principle recover everything that its teacher knows.

To add one: write a class that implements :class:`CueProvider`, add a section with a unique ``type`` to ``CueProviderConfig`` in
``vicur.config.cues``, and map the section to the class in :func:`provider_for`. The audit applies to every provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, assert_never

from vicur.config.cues import AnnotationCues, CueProviderConfig, EndpointCues, PixelCues
from vicur.config.prompts import PromptConfig

if TYPE_CHECKING:
    from vicur.data.schema import Example
    from vicur.stage.runner import Context


@dataclass(frozen=True)
class NoCue:
    """The outcome of an example without a cue."""

    reason: str  # equal for equal causes, so that reasons can be counted: no ids, no paths


class CueProvider(Protocol):
    """Makes cues. The same examples give the same cues on every machine, unless the provider queries something that does not."""

    fitted_on: tuple[str, ...]  # splits whose examples are passed to fit()

    @property
    def fingerprint(self) -> str:
        """Identify everything beyond the example and this code that the cues depend on: fitted state, the queried model."""
        ...

    def fit(self, examples: Iterable[Example]) -> None:
        """Learn from examples with their answers. Called once, before :meth:`cues`."""
        ...

    def cues(self, examples: Iterable[Example]) -> Iterator[str | NoCue]:
        """Yield for each example, in order, its cue or the reason for having none. It reads only a limited number of examples ahead.

        Raises:
            VicurError: if no example can get a cue.
        """
        ...


class AnnotationProvider:
    """Cue provider that returns the dataset's annotated cues."""

    fitted_on: tuple[str, ...] = ()
    fingerprint: str = "dataset"

    def fit(self, examples: Iterable[Example]) -> None:
        """Do nothing: annotations need no fitting."""

    def cues(self, examples: Iterable[Example]) -> Iterator[str | NoCue]:
        """Return the ``cue`` field of each example."""
        return map(self.cue, examples)

    def cue(self, example: Example) -> str | NoCue:
        cue = (example.cue or "").strip()
        return cue or NoCue("the example has no cue of its own")


def provider_for(config: CueProviderConfig, context: Context, prompts: PromptConfig | None = None) -> CueProvider:
    """Create the configured provider, not yet fitted."""
    match config:
        case AnnotationCues():
            return AnnotationProvider()
        case PixelCues():
            from vicur.cues.pixels import PixelProvider

            return PixelProvider()
        case EndpointCues():
            from vicur.cues.cue_cache import CueCache
            from vicur.cues.endpoint import EndpointProvider

            cache = CueCache.at(context.shared, context.shared_at)
            return EndpointProvider(config, context.seed, cache, prompts)
        case _:
            assert_never(config)
