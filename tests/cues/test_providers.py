"""Creation of providers from their configuration, and the annotation provider."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import pytest
from pydantic import ValidationError

from tests.cues.examples import example
from vicur.config.cues import CueProviderConfig, CuesConfig, EndpointCues
from vicur.config.section import Section
from vicur.config.validation import validated
from vicur.cues.providers import NoCue, provider_for
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.stage.runner import Context
from vicur.tracking.tracker import Tracker


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("run", 0, Tracker(), Events("extract", None), tmp_path / "key.work")


@pytest.mark.parametrize("section", get_args(get_args(CueProviderConfig)[0]))
def test_every_type_of_provider_can_be_created_from_its_section(section: type[Section], context: Context) -> None:
    values = {"url": "http://a/v1", "model": "vlm"} if section is EndpointCues else {}
    provider = provider_for(section.model_validate(values), context)  # type: ignore[arg-type]
    assert set(provider.fitted_on) <= {"base", "distill"}
    assert callable(provider.fit)
    assert callable(provider.cues)


class OracleCues(Section):
    """A section without a provider."""

    type: Literal["oracle"] = "oracle"


def test_a_section_without_a_provider_is_an_error(context: Context) -> None:
    with pytest.raises(AssertionError, match="OracleCues"):
        provider_for(OracleCues(), context)  # type: ignore[arg-type]


def test_an_unknown_provider_is_rejected() -> None:
    with pytest.raises(ValidationError, match="'annotation', 'pixels', 'endpoint'"):
        CuesConfig.model_validate({"provider": {"type": "oracle"}})


def test_annotation_returns_the_examples_cue(context: Context) -> None:
    provider = provider_for(CuesConfig.model_validate({"provider": {"type": "annotation"}}).provider, context)
    provider.fit([])
    first, *others = provider.cues([example(cue="Two chords."), example(cue=None), example(cue=" \n")])
    assert first == "Two chords."
    assert all(isinstance(other, NoCue) for other in others)


@pytest.mark.parametrize(
    ("splits", "reason"),
    [
        (["distill", "holdout"], "holdout"),
        (["validation", "test"], "must include 'distill'"),
        (["distill", "test", "distill"], "must not list 'distill' twice"),
    ],
)
def test_invalid_splits_are_rejected_with_the_reason(splits: list[str], reason: str) -> None:
    with pytest.raises(VicurError, match=reason):
        validated(CuesConfig, {"splits": splits}, "cues")
