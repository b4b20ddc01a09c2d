"""Providers by configuration, and the annotation provider."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.cues.examples import example
from vicur.config.cues import CueProviderConfig, CuesConfig
from vicur.cues.providers import NoCue, provider_for


@pytest.mark.parametrize("name", ["annotation", "pixels"])
def test_a_provider_is_named_by_its_type(name: str) -> None:
    config: CueProviderConfig = TypeAdapter(CueProviderConfig).validate_python({"type": name})
    assert provider_for(config).name == name


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(ValidationError, match="'annotation', 'pixels'"):
        CuesConfig.model_validate({"provider": {"type": "oracle"}})


def test_annotation_takes_the_examples_own_cue() -> None:
    provider = provider_for(CuesConfig.model_validate({"provider": {"type": "annotation"}}).provider)
    provider.fit([])
    assert provider.cue(example(cue="Two chords.")) == "Two chords."
    assert isinstance(provider.cue(example(cue=None)), NoCue)
    assert isinstance(provider.cue(example(cue=" \n")), NoCue)


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
