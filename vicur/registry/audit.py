"""Audit a registered model: aliases that someone set by hand, verdicts that do not match, files that are missing.

Nothing is changed. MLflow lets everyone who may write to a model move its aliases and edit its tags, so the audit compares them with the
recorded moves, with the verdicts and with the stored evaluations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vicur.config.evaluation import REPORT_SPLIT
from vicur.errors import VicurError
from vicur.registry.gate import decide
from vicur.registry.history import MOVE_TAG, History, existing, history_of
from vicur.registry.model_files import file_names, read_model_file
from vicur.registry.paired import stored_evaluation
from vicur.registry.provenance import PROVENANCE, provenance_of
from vicur.registry.tags import (
    ACCURACY_TAG,
    BASE_TAG,
    CUES_TAG,
    DATASET_TAG,
    METHOD_TAG,
    PASSED,
    VERDICT_TAG,
    verdict_state,
)
from vicur.registry.verdict import VERDICT, Verdict, recorded_objection, verdict_of
from vicur.registry.versions import CANDIDATE, CHAMPION, PREVIOUS, Version, entities_of, version_with_alias
from vicur.registry.weights import WEIGHTS, parse_reference
from vicur.wording import listed

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CHECKPOINT = "artifacts/checkpoint"


class Finding(BaseModel, frozen=True):
    """Something that a registered model should not have."""

    model: str
    where: str
    """``version 3`` or ``alias champion``."""
    problem: str
    """What is wrong, as the rest of a sentence about it."""

    def __str__(self) -> str:
        return f"{self.model}, {self.where}: {self.problem}"


def audit(client: MlflowClient, name: str) -> list[Finding]:
    """Return what is wrong with a registered model, its aliases first.

    Raises:
        VicurError: if the model does not exist.
    """
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise VicurError(
            "does not exist.", where=f"registered model {name}", remedy="Name another with --model."
        ) from error
    versions = [Version.of(entity, client) for entity in entities_of(client, name)]
    history = history_of(client, name)
    damaged = [key for key in model.tags if key.startswith(f"{MOVE_TAG} ")]
    readable = {f"{MOVE_TAG} {move.when}" for move in history.moves}
    found = [
        Finding(model=name, where=f"tag {key}", problem="is not a readable record of a move.")
        for key in sorted(set(damaged) - readable)
    ]
    found += [
        Finding(model=name, where=f"alias {alias}", problem=text)
        for alias, text in _aliases(client, name, versions, history)
    ]
    for version in versions:
        found += [
            Finding(model=name, where=f"version {version.number}", problem=text) for text in _version(client, version)
        ]
    return found


def _aliases(client: MlflowClient, name: str, versions: list[Version], history: History) -> Iterator[tuple[str, str]]:
    champion = version_with_alias(client, name, CHAMPION)
    line = history.champions(None)
    if champion is None and line:
        gone = "was deleted" if existing(client, name, line[-1]) is None else "still exists"
        yield CHAMPION, f"points to no version, although version {line[-1]} became the champion last; it {gone}."
    elif champion is not None and not line:
        yield CHAMPION, f"points to version {champion.number}, but no move is recorded: it was set by hand."
    elif champion is not None and champion.number != line[-1]:
        yield (
            CHAMPION,
            f"points to version {champion.number}, but the last recorded move is that of version {line[-1]}: it was set by hand.",
        )
    if champion is not None:
        line = history.champions(champion.number)
    before = [number for number in line[:-1] if existing(client, name, number) is not None]
    previous = version_with_alias(client, name, PREVIOUS)
    if previous is not None and champion is not None and previous.number not in before[-1:]:
        due = f"version {before[-1]}" if before else "no version"
        yield (
            PREVIOUS,
            f"points to version {previous.number}, but by the recorded moves it should point to {due}: it was set by hand.",
        )
    for version in versions:
        for alias in version.aliases:
            if alias != PREVIOUS and (objection := _unjudged(client, version, alias, history)):
                yield alias, f"points to version {version.number}, which {objection}"


def _unjudged(client: MlflowClient, version: Version, alias: str, history: History) -> str:
    """Return why a version should not have an alias, as the end of a sentence, or an empty text."""
    objection = recorded_objection(client, version)
    if not objection:
        return ""
    if alias == CANDIDATE:
        # Every student becomes the candidate, whether or not it passes.
        return "" if verdict_of(client, version) is not None or verdict_state(version.tags) else objection
    forced = any(move.forced and move.champion == version.number for move in history.moves)
    return "" if alias == CHAMPION and forced else objection


def _version(client: MlflowClient, version: Version) -> Iterator[str]:
    yield from _files(client, version)
    verdict = verdict_of(client, version)
    if verdict is not None:
        yield from _verdict(client, version, verdict)
    elif read_model_file(client, version, VERDICT) is not None:
        yield f"its {VERDICT} is damaged."
    elif verdict_state(version.tags) == PASSED and recorded_objection(client, version):
        yield f"its tag {VERDICT_TAG} says {PASSED!r}, but no verdict is recorded."


def _files(client: MlflowClient, version: Version) -> Iterator[str]:
    if version.model_id is None:
        return
    names = file_names(client, version)
    if names is None:
        yield f"its files are missing: the logged model {version.model_id} was deleted."
        return
    if "MLmodel" not in names:
        yield "its files are missing: there is no MLmodel."
        return
    checkpoint = file_names(client, version, _CHECKPOINT) or set()
    if "config.json" not in checkpoint:
        yield "its files are missing: there is no configuration of the student."
    if WEIGHTS in names:
        yield from _referred_weights(client, version, checkpoint)
    elif not any(name.endswith(".safetensors") for name in checkpoint):
        yield "its files are missing: there are no weights."
    if PROVENANCE not in names and not version.tags.get("vicur.checkpoint"):
        yield f"its files are missing: there is no {PROVENANCE}."


def _referred_weights(client: MlflowClient, version: Version, uploaded: set[str]) -> Iterator[str]:
    try:
        reference = parse_reference(read_model_file(client, version, WEIGHTS) or "", f"{version}, {WEIGHTS}")
        gone = [name for name in reference.missing() if name not in uploaded]
    except VicurError as error:
        yield f"its weights cannot be looked up: {error}"
        return
    if gone:
        yield f"its files are missing: {listed(gone)} at {reference.address}."


def _verdict(client: MlflowClient, version: Version, verdict: Verdict) -> Iterator[str]:
    lineage = provenance_of(client, version).lineage
    if verdict.model_id != version.model_id:
        yield f"its verdict is on another model ({verdict.model_id})."
    if verdict.checkpoint != lineage.checkpoint:
        yield f"its verdict is on another checkpoint ({verdict.checkpoint[:12]}, of the version: {lineage.checkpoint[:12]})."
    again = decide(verdict.inputs, verdict.config)
    if (again.passed, again.rules) != (verdict.passed, verdict.outcome.rules):
        yield "its verdict does not follow from the measurements in it."
    expected = {
        **_tags_of(version, verdict),
        BASE_TAG: lineage.parent,
        DATASET_TAG: lineage.dataset,
        CUES_TAG: lineage.cues,
        METHOD_TAG: lineage.method,
    }
    for tag, value in expected.items():
        if version.tags.get(tag, value) != value:
            yield f"its tag {tag} was edited: it does not agree with {VERDICT if tag in (VERDICT_TAG, ACCURACY_TAG) else PROVENANCE}."
    yield from _evaluation(client, verdict)


def _tags_of(version: Version, verdict: Verdict) -> dict[str, str]:
    """Return the tags that the verdict gave a version."""
    if (version.model, version.number) != (verdict.model, verdict.version):
        # A copy has the tags of its original when it was made.
        for earlier in verdict.earlier:
            if all(version.tags.get(name) == value for name, value in earlier.items()):
                return earlier
    return verdict.tags()


def _evaluation(client: MlflowClient, verdict: Verdict) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            stored = stored_evaluation(client, verdict.evaluation_run, Path(folder))
        except VicurError as error:
            yield f"its evaluation is missing: {error}"
            return
    metrics = stored.metrics.splits.get(REPORT_SPLIT)
    if metrics is None:
        yield "its stored evaluation has no test questions."
        return
    for what, recorded, found in (
        ("questions", verdict.inputs.examples, metrics.examples),
        ("accuracy", verdict.inputs.accuracy, metrics.accuracy),
        ("responses that mention a hint", verdict.inputs.leaking, metrics.hint_leakage.samples),
    ):
        if recorded != found:
            yield f"its verdict has other figures than its stored evaluation: {what} {recorded:g}, stored {found:g}."
