"""The pixel budget of a version's evaluation, as a tag of the version, so that servers need not download the model to know it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from vicur.config.prompts import PixelBudget, PromptConfig
from vicur.errors import VicurError

_TAG = "vicur.pixels"


def pixel_tags(prompts: PromptConfig) -> dict[str, str]:
    """Return the tag of a version that was evaluated with ``prompts``; none if its images have the checkpoint's sizes."""
    budget = prompts.pixels.of("evaluation")
    return {} if budget == PixelBudget() else {_TAG: budget.model_dump_json()}


def budget_of(tags: Mapping[str, str], where: str) -> PixelBudget:
    """Return the pixel budget of a version's evaluation.

    Raises:
        VicurError: if the tag is damaged.
    """
    try:
        return PixelBudget.model_validate_json(tags.get(_TAG, "{}"))
    except ValidationError as error:
        raise VicurError(
            f"the tag {_TAG} is not a pixel budget ({tags[_TAG]!r}).", where=where, remedy="Register the student again."
        ) from error
