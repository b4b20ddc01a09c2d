"""Providers by configuration, and the annotation provider."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.cues.examples import example
from vicur.config.cues import CueProviderConfig, CuesConfig
from vicur.cues.providers import NoCue, provider_for
from vicur.stage.events import Events
from vicur.stage.runner import Context
from vicur.tracking.tracker import Tracker


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("run", 0, Tracker(), Events("extract", None), tmp_path / "key.work")


@pytest.mark.parametrize(
    "settings", [{"type": "annotation"}, {"type": "pixels"}, {"type": "endpoint", "url": "http://a/v1", "model": "vlm"}]
)
def test_a_provider_is_named_by_its_type(settings: dict[str, str], context: Context) -> None:
    config: CueProviderConfig = TypeAdapter(CueProviderConfig).validate_python(settings)
    assert provider_for(config, context).name == settings["type"]


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(ValidationError, match="'annotation', 'pixels', 'endpoint'"):
        CuesConfig.model_validate({"provider": {"type": "oracle"}})


def test_annotation_takes_the_examples_own_cue(context: Context) -> None:
    provider = provider_for(CuesConfig.model_validate({"provider": {"type": "annotation"}}).provider, context)
    provider.fit([])
    first, *others = provider.cues([example(cue="Two chords."), example(cue=None), example(cue=" \n")])
    assert first == "Two chords."
    assert all(isinstance(other, NoCue) for other in others)


@pytest.mark.parametrize(
    ("splits", "reason"),
    [
        (["distill", "holdout"], "'holdout', which is none of"),
        (["validation", "test"], "has no 'distill'"),
        (["distill", "test", "distill"], "names a split twice"),
    ],
)
def test_splits_that_make_no_sense_are_refused_with_the_reason(splits: list[str], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        CuesConfig.model_validate({"splits": splits})
