"""Parameters of pipeline steps: each step gets what it depends on, nothing else, and as little as possible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from vicur.cluster.keys import cache_keys
from vicur.cluster.request import Request, resolved
from vicur.config.ablation import AblationConfig
from vicur.config.cells import Cell
from vicur.config.compact import compact
from vicur.config.cues import CuesConfig
from vicur.config.data import DataConfig, SourceConfig
from vicur.config.loading import load_settings
from vicur.config.methods import METHODS
from vicur.config.run import RunConfig
from vicur.config.section import Section
from vicur.errors import VicurError
from vicur.stage import table
from vicur.stage.table import STAGES, PipelineStep, step_labels, steps_of
from vicur.steps.parameters import StepParameters, pipeline_parameters
from vicur.steps.preflight_step import graph_parameters

CONFIGS = Path(__file__).parents[2] / "configs"
RUNS = [CONFIGS / f"{name}.yaml" for name in ("local", "qwen3-vl-2b", "qwen3-vl-8b", "qwen3-vl-32b")]
ABLATIONS = sorted(CONFIGS.glob("ablation*.yaml"))
VERSIONS: Mapping[str, str] = dict.fromkeys(STAGES, "0123456789abcdef")
ENDING = {"compare", "register"}
DIFFERENT = {
    "methods": ["opsd", "opd", "grpo"],
    "training": {
        "objective": {"type": "forward_kl"},
        "recovery": {"interval": 3},
        "per_method": {
            "opd": {"teacher": {"type": "checkpoint", "path": "tiny-teacher"}},
            "grpo": {"objective": None, "steps": 9, "recovery": {"sink": "assistant"}},
        },
    },
}


def shipped() -> list[RunConfig | AblationConfig]:
    runs = [load_settings(RunConfig, file) for file in RUNS]
    return [*runs, *(load_settings(AblationConfig, file) for file in ABLATIONS)]


def made(config: RunConfig | AblationConfig) -> dict[str, Any]:
    """The parameters of a run, after their way through JSON."""
    return dict(json.loads(json.dumps(pipeline_parameters(config, cache_keys(config, VERSIONS)))))


@pytest.mark.parametrize("config", [*shipped(), RunConfig.model_validate(DIFFERENT)], ids=lambda config: config.name)
def test_every_step_gets_the_settings_of_the_configuration(config: RunConfig | AblationConfig) -> None:
    parameters = made(config)
    for step in steps_of(config):
        section = STAGES[step.stage].section
        cells = list(zip(config.cells(), parameters["cells"], strict=True)) if step.cell_name else [(None, None)]
        for cell, own in cells:
            merged = StepParameters.model_validate(parameters[step.parameter] if own is None else own[step.name])
            expected = getattr(config if cell is None else cell, step.section)
            if isinstance(expected, SourceConfig):
                # The dataset does not depend on the settings of prompts, which other steps get.
                expected = expected.source()
            if isinstance(expected, CuesConfig):
                # Cues do not depend on the model that will read them.
                expected = expected.model_copy(update={"reader": None})
            assert validate(section, merged.config) == expected
            assert merged.seed == (config if cell is None else cell).seed
            assert merged.subject == (step.subject if cell is None else getattr(cell, str(step.cell_name)))
            assert len(merged.cache_key) == 32


def validate(section: Any, values: dict[str, Any]) -> Any:
    class Holder(BaseModel):
        held: section

    return Holder(held=values).held


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Labels of the steps whose parameters differ."""
    names = {step.name for step in table.STEPS if before.get(step.parameter) != after.get(step.parameter)}
    cells = {cell["train"]["subject"]: cell for cell in before["cells"]}
    for cell in after["cells"]:
        if cell != cells.get(cell["train"]["subject"]):
            names |= {f"{name} {each['subject']}" for name, each in cell.items()}
    return names


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({"registry": {"model": "other"}}, {"register"}),
        ({"registry": {"gate": {"margin": 0.5}}}, {"register"}),
        ({"name": "other"}, set()),
        ({"cluster": {"gpu_count": 8, "prices": {"nvidia.com/gpu": 3.0}}}, set()),
        ({"tracking": {"experiment": "other"}}, set()),
        # Compare and register depend on the set of methods, the other students do not depend on a new one.
        ({"methods": ["opsd", "vicur", "grpo"]}, {*ENDING, "train grpo", "evaluate grpo"}),
        (
            {"training": {"per_method": {"vicur": {"steps": 7}}}},
            {*ENDING, "train vicur", "evaluate vicur"},
        ),
    ],
)
def test_a_change_reaches_the_steps_that_depend_on_it_and_no_others(change: dict[str, Any], steps: set[str]) -> None:
    assert changed(made(RunConfig()), made(RunConfig.model_validate(change))) == steps


def test_a_training_on_several_nodes_gets_the_cluster_and_no_other_step_does() -> None:
    parameters = made(RunConfig.model_validate({"cluster": {"nodes": 2}, "checkpoints": "s3://bucket/runs"}))
    for cell in parameters.pop("cells"):
        assert {name for name, each in cell.items() if "cluster" in each} == {"train"}
        assert StepParameters.model_validate(cell["train"]).cluster.nodes == 2
        assert cell["train"]["checkpoints"] == "s3://bucket/runs"
    assert {name for name, each in parameters.items() if "cluster" in each} == set()
    assert {name for name, each in parameters.items() if "checkpoints" in each} == {"extract_step"}


def test_a_local_run_has_no_cache_keys() -> None:
    assert "cache_key" not in json.dumps(pipeline_parameters(RunConfig()))


@pytest.mark.parametrize("config", shipped(), ids=lambda config: config.name)
def test_a_configuration_is_equal_after_leaving_its_defaults_out(config: Section) -> None:
    assert type(config).model_validate(json.loads(json.dumps(compact(config)))) == config


def test_a_setting_that_is_null_against_its_default_is_refused() -> None:
    config = RunConfig.model_validate({"training": {"per_method": {"vicur": {"objective": None}}}})
    with pytest.raises(VicurError, match="null"):
        compact(config)


def test_a_split_that_is_left_out_reaches_the_step() -> None:
    preset = {
        "data": {"type": "pinned", "hash": f"{'0' * 32}.dir", "remote": "s3://bucket/dvc", "splits": {"junk": None}}
    }
    form = Request(overrides={"data.splits": {"train": "distill", "junk": None}})
    for request, splits in ((Request(), {"junk": None}), (form, {"train": "distill", "junk": None})):
        config = resolved(compact(RunConfig.model_validate(preset)), request)
        passed = json.dumps(made(config)["prepare_step"])
        assert "null" not in passed
        data: Any = TypeAdapter(DataConfig).validate_python(StepParameters.model_validate_json(passed).config)
        assert data == config.data
        assert data.splits == splits


def test_parameters_of_a_step_stay_small(record_property: Any) -> None:
    """A workflow's status holds six copies of each, and 1 MiB is its limit."""
    six = RunConfig.model_validate({**load_settings(RunConfig, RUNS[2]).model_dump(), "methods": METHODS[:4]})
    sizes = {name: len(json.dumps(value)) for name, value in made(six).items() if name != "cells"}
    sizes |= {"cell": max(len(json.dumps(cell)) for cell in made(six)["cells"])}
    record_property("bytes", sizes)
    print(sizes)
    assert max(sizes.values()) < 1500


def test_labels_are_in_reading_order_and_a_shared_student_is_trained_once() -> None:
    arms = [
        {"name": "a", "about": "one", "method": "vicur"},
        {"name": "off", "about": "other", "students_of": "a", "evaluation": {"cue_recovery": False}},
    ]
    config = AblationConfig.model_validate({"arms": arms, "seeds": [0, 1]})
    assert step_labels(config) == [
        *("prepare", "extract", "base", "evaluate base"),
        *("train a.0", "evaluate a.0", "train a.1", "evaluate a.1", "evaluate off.0", "evaluate off.1"),
        "ablate",
    ]


@pytest.fixture
def fake_step(monkeypatch: pytest.MonkeyPatch) -> PipelineStep:
    """A step that somebody declares."""
    step = PipelineStep("audit", "evaluate", "evaluation", after=("train",), cell_name="subject", checkpoints=True)
    shown = table.STEPS.index(next(each for each in table.STEPS if each.name == "compare"))
    monkeypatch.setattr(table, "STEPS", (*table.STEPS[:shown], step, *table.STEPS[shown:]))
    monkeypatch.setattr("vicur.steps.preflight_step.STEPS", table.STEPS)
    monkeypatch.setattr(PipelineStep, "label", lambda self, cell=None: _label(self, cell))
    return step


def _label(step: PipelineStep, cell: Cell | None) -> str:
    subject = getattr(cell, step.cell_name) if step.cell_name else step.subject
    return f"{step.name if step.name == 'audit' else step.stage} {subject}".strip()


def test_a_declared_step_has_a_label_parameters_and_a_cache_key(
    fake_step: PipelineStep,
) -> None:
    config = RunConfig(methods=("vicur",), checkpoints="s3://bucket/runs")
    labels = step_labels(config)
    assert labels.index("audit vicur") == labels.index("evaluate vicur") + 1
    (cell,) = made(config)["cells"]
    assert cell["audit"]["checkpoints"] == "s3://bucket/runs"
    assert cell["audit"]["cache_key"] != cell["evaluate"]["cache_key"]
    # Its parameters are those of the cell.
    assert fake_step.parameter not in graph_parameters(config)


@pytest.mark.usefixtures("fake_step")
def test_a_declared_step_that_the_graph_lacks_is_refused() -> None:
    from vicur_pipelines.local import build

    with pytest.raises(ValueError, match=r"not added in pipelines/graph\.py: audit"):
        build(RunConfig(), retries=0)


def test_a_step_of_a_section_that_no_configuration_has_is_in_no_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    step = PipelineStep("audit", "evaluate", "audits")
    monkeypatch.setattr(table, "STEPS", (*table.STEPS, step))
    assert step not in steps_of(RunConfig())
