"""Steps that divide a stage into portions and work on one of them. The step of the stage itself merges them.

Neither logs to MLflow: the merge does, for the stage as a whole.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vicur.config.compact import compact
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.processes.retrying import retried
from vicur.stage.events import Events
from vicur.stage.portions import PORTIONS, portion_inputs
from vicur.stage.runner import Summary, execute
from vicur.stage.session import session_from_environment
from vicur.stage.table import DIVIDED, DividedStage, StageEntry
from vicur.steps.parameters import StepParameters
from vicur.steps.stage_step import Artifact, output_metadata, refuse_useless_retry, run_as_step, step_policy
from vicur.tracking.tracker import Tracker


def run_plan_step(
    stage: str, step: Mapping[str, Any], count: int, inputs: Mapping[str, Artifact], portions: str
) -> None:
    """Divide a stage, and write the list over which the pipeline loops: the parameter ``step`` of each portion's step.

    Args:
        step: parameters of the stage's own step.
        count: largest number of portions; 0 lets it follow from the number of rows.
        portions: file for the list.
    """
    label, divided = f"{stage}-plan", DIVIDED[stage]
    paths = _paths(inputs)

    def run() -> list[dict[str, Any]]:
        given = validated(StepParameters, dict(step), "step")
        settings = {divided.section: given.config, "count": count}
        with tempfile.TemporaryDirectory() as folder:
            _execute(divided.plan, label, given.model_copy(update={"config": settings}), paths, Path(folder) / "plan")
            made = json.loads((Path(folder) / "plan" / PORTIONS).read_text(encoding="utf-8"))
        return [_parameters(divided, each, number, given) for number, each in enumerate(made, start=1)]

    items = [{"step": each} for each in run_as_step(label, run)]
    file = Path(portions)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(items), encoding="utf-8")


def run_portion_step(stage: str, step: Mapping[str, Any], inputs: Mapping[str, Artifact], output: Artifact) -> None:
    """Work on one portion of a stage. ``step`` is an item of the list of :func:`run_plan_step`."""
    label = f"{stage}-portion {step.get('subject', '')}".strip()
    paths = _paths(inputs)

    def run() -> Summary:
        parameters = validated(StepParameters, dict(step), "step")
        return _execute(DIVIDED[stage].portion, label, parameters, paths, Path(output.path))

    run_as_step(label, run)
    output.metadata.update(output_metadata(""))


def merged_inputs(portions: Iterable[Artifact], **others: Artifact) -> dict[str, Artifact]:
    """Return the inputs of the step that merges portions, which come in any order."""
    by_path = {Path(each.path): each for each in portions}
    return {**others, **{name: by_path[path] for name, path in portion_inputs(by_path).items()}}


def _paths(inputs: Mapping[str, Artifact]) -> dict[str, Path]:
    return {name: Path(each.path) for name, each in inputs.items()}


def _parameters(divided: DividedStage, made: dict[str, Any], number: int, given: StepParameters) -> dict[str, Any]:
    # The platform's cache keys a portion on these: the code that works on it, and the files that it reads, but none of other portions.
    parameters = StepParameters(
        config=compact(validated(divided.portion.section, made, PORTIONS)),
        seed=given.seed,
        subject=str(number),
        cache_key=divided.portion.reference.code,
        checkpoints=given.checkpoints,
    )
    return compact(parameters)


def _execute(
    entry: StageEntry, label: str, parameters: StepParameters, inputs: Mapping[str, Path], output: Path
) -> Summary:
    events = Events.from_environment(label)
    refuse_useless_retry(label)
    try:
        section = validated(entry.section, parameters.config, label)
    except VicurError as error:
        events.emit("failed", str(error), retryable=error.retryable)
        raise
    session = session_from_environment(parameters.seed, parameters.tracking, parameters.checkpoints)
    session = replace(session, tracker=lambda _: Tracker())
    summary: Summary = retried(
        lambda: execute(entry.reference, section, inputs, output, session, events=events),
        step_policy(),
        partial(events.emit, "progress"),
    )
    return summary
