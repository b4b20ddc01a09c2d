"""Digit scenes, generated once for all tests of this folder."""

from __future__ import annotations

import pytest

from vicur.config.data import DigitScenesConfig, Pool
from vicur.cues.pixels import PixelProvider
from vicur.data.digit_scenes import build_pools
from vicur.data.schema import Example

SMALL = DigitScenesConfig(
    base=Pool(digits_per_class=8, scenes=60),
    distill=Pool(digits_per_class=40, scenes=120),
    validation=Pool(digits_per_class=15, scenes=20),
    test=Pool(digits_per_class=30, scenes=20),
    ood=DigitScenesConfig().ood.model_copy(update={"scenes": 20}),
)


@pytest.fixture(scope="session")
def scenes() -> dict[str, list[Example]]:
    """Examples of a small dataset of digit scenes, by split."""
    return build_pools(SMALL, seed=0)


@pytest.fixture(scope="session")
def provider(scenes: dict[str, list[Example]]) -> PixelProvider:
    """The pixels provider, fitted on ``scenes``."""
    fitted = PixelProvider()
    fitted.fit(example for split in fitted.fitted_on for example in scenes[split])
    return fitted


@pytest.fixture
def endpoint_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key in the environment, and short waits between retries."""
    monkeypatch.delenv("VICUR_CUE_API_KEY", raising=False)
    # The client implements the backoff; shorten it for the tests.
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
