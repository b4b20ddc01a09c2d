"""What a cue provider is.

A provider turns an example into a visual cue: text that says what is to be seen in the image and is relevant to the question.
Ideally S = f(X), a function of image and question alone, so that a student can in principle recover all that its teacher knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vicur.config.cues import AnnotationCues, CueProviderConfig, PixelCues

if TYPE_CHECKING:
    from vicur.data.schema import Example


@dataclass(frozen=True)
class NoCue:
    """An example that a provider has no cue for."""

    reason: str
    """Why, so that equal reasons can be counted: nothing that differs from one example to the next."""


class CueProvider(Protocol):
    """Makes cues. Deterministic: the same examples fitted and the same example asked give the same cue on every machine."""

    name: str
    """What it is called in configuration and results."""
    fitted_on: tuple[str, ...]
    """Splits whose examples :meth:`fit` wants to see."""

    @property
    def fingerprint(self) -> str:
        """Says what the cues depend on beside the example and this project's code: what was fitted, which model is asked."""
        ...

    def fit(self, examples: Iterable[Example]) -> None:
        """Learns from examples, truth included, before the first cue is asked for.

        Raises:
            VicurError: where the examples do not hold what the provider learns from.
        """
        ...

    def cue(self, example: Example) -> str | NoCue:
        """The cue of an example, or why it has none."""
        ...


class AnnotationProvider:
    """Takes the cue that the dataset brings along."""

    name = "annotation"
    fitted_on = ()
    fingerprint = "dataset"

    def fit(self, examples: Iterable[Example]) -> None:
        """Has nothing to learn."""

    def cue(self, example: Example) -> str | NoCue:
        """The example's ``cue`` field."""
        return example.cue if example.cue else NoCue("the example has no cue field, or an empty one")


def provider_for(config: CueProviderConfig) -> CueProvider:
    """The provider that a configuration names."""
    match config:
        case AnnotationCues():
            return AnnotationProvider()
        case PixelCues():
            from vicur.cues.pixels import PixelProvider

            return PixelProvider(config.neighbours)
