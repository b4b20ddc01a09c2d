"""The graph that all pipelines share: dataset, cues and base once, one student per cell, and an ending.

    prepare ─┬─ extract ──────┐
             ├────────────────┼─ for each cell: train ─ evaluate ─┬─ compare ─ register    (a distillation)
    base ────┴─ evaluate-base ┘                                   └─ ablate                (an ablation)

With benchmarks in ``evaluation.sets``, each model also has the steps ``benchmark-answer`` and ``benchmark-score`` before ``compare``. In a
package, ``prepare`` and ``extract`` may be several steps each (:mod:`vicur_pipelines.portions`).

A distillation has one cell per method, an ablation one per arm and seed. ``vicur run``, ``vicur ablate`` and the packages for a cluster
build their pipelines from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent
from vicur_components.ablate.component import ablate
from vicur_components.base.component import base
from vicur_components.benchmark_answer.component import benchmark_answer, benchmark_answer_base
from vicur_components.benchmark_score.component import benchmark_score, benchmark_score_base
from vicur_components.compare.component import compare, compare_with_benchmarks
from vicur_components.evaluate.component import evaluate, evaluate_base
from vicur_components.extract.component import extract
from vicur_components.outcome.component import outcome
from vicur_components.prepare.component import prepare
from vicur_components.register.component import register
from vicur_components.train.component import train
from vicur_pipelines.portions import add_portions
from vicur_pipelines.tasks import EXIT, ConfigureTask

from vicur.config.portions import PortionsConfig
from vicur.stage.table import PipelineConfig, PipelineStep, steps_of
from vicur.steps.parameters import CELLS
from vicur.steps.preflight_step import graph_parameters


@dataclass
class GraphBuilder:
    """Adds declared steps to the pipeline that is being defined."""

    configure: ConfigureTask
    values: Mapping[str, Any]  # parameters of the graph, as channels of the pipeline
    steps: dict[str, PipelineStep]  # declared steps that have not been added yet
    portions: PortionsConfig

    def add(
        self, name: str, component: Callable[..., dsl.PipelineTask], cell: Any = None, **artifacts: Any
    ) -> Mapping[str, Any]:
        """Add the step called ``name``, in the loop with the parameters of its ``cell``, and return its outputs."""
        step = self.steps.pop(name)
        parameters = self.values[step.parameter] if cell is None else getattr(cell, step.name)
        count = getattr(self.portions, name, 1)
        if count != 1:
            return add_portions(self.configure, step, parameters, count, **artifacts).outputs
        return self.configure(component(step=parameters, **artifacts), step.needs).outputs


def add_graph(
    configure: ConfigureTask,
    config: PipelineConfig,
    values: Mapping[str, Any],
    portions: PortionsConfig = PortionsConfig(),  # noqa: B008 (immutable)
) -> None:
    """Add the steps for a kind of configuration to the pipeline that is being defined.

    Args:
        values: parameters of the graph (:func:`vicur.steps.preflight_step.graph_parameters`), as channels of the pipeline.
        portions: number of portions of the stages that may have some; by default, none has.

    Raises:
        ValueError: if a declared step is not part of the graph.
    """
    graph = GraphBuilder(configure, values, {step.name: step for step in steps_of(config)}, portions)
    dataset = graph.add("prepare", prepare)["dataset"]
    cues = graph.add("extract", extract, dataset=dataset)["cues"]
    model = graph.add("base", base)["model"]
    baseline = graph.add("evaluate_base", evaluate_base, dataset=dataset, model=model)["evaluation"]
    benchmarked = "benchmark_answer" in graph.steps
    base_scores = scores = None
    if benchmarked:
        answers = graph.add("benchmark_answer_base", benchmark_answer_base, model=model)["answers"]
        base_scores = graph.add("benchmark_score_base", benchmark_score_base, answers=answers)["scores"]
    with dsl.ParallelFor(values[CELLS], name="each-cell") as cell:
        student = graph.add("train", train, dataset=dataset, cues=cues, base=model, cell=cell)["student"]
        evaluation = graph.add("evaluate", evaluate, dataset=dataset, model=student, cell=cell)["evaluation"]
        if benchmarked:
            answers = graph.add("benchmark_answer", benchmark_answer, model=student, cell=cell)["answers"]
            scores = graph.add("benchmark_score", benchmark_score, answers=answers, cell=cell)["scores"]

    if "ablate" in graph.steps:
        graph.add("ablate", ablate, base=baseline, evaluations=dsl.Collected(evaluation))
    else:
        examples = {"dataset": dataset, "cues": cues}
        evaluations = {"base": baseline, "evaluations": dsl.Collected(evaluation)}
        if benchmarked:
            benchmarks = {"base_scores": base_scores, "scores": dsl.Collected(scores)}
            compared = graph.add("compare", compare_with_benchmarks, **evaluations, **benchmarks, **examples)
        else:
            compared = graph.add("compare", compare, **evaluations, **examples)
        graph.add("register", register, comparison=compared["comparison"], students=dsl.Collected(student), **examples)
    if graph.steps:
        raise ValueError(f"declared in vicur.stage.table but not added in pipelines/graph.py: {', '.join(graph.steps)}")


def local_pipeline(name: str, configure: ConfigureTask, config: PipelineConfig) -> GraphComponent:
    """Return the pipeline of a local run. Its parameters are those of the graph, and ``tracking`` for the exit step."""

    def build(values: Mapping[str, Any]) -> None:
        ended = configure(outcome(tracking=values["tracking"]), EXIT)
        with dsl.ExitHandler(ended, name="run"):
            add_graph(configure, config, values)

    return pipeline_with(name, {**graph_parameters(config), "tracking": dict}, build)


def pipeline_with(
    name: str,
    parameters: Mapping[str, type],
    build: Callable[[Mapping[str, Any]], None],
    *,
    display_name: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    description: str | None = None,
) -> GraphComponent:
    """Return a pipeline with the given parameters. ``build`` adds its tasks, given the channels of the parameters by name."""

    def function(*channels: Any) -> None:
        build(dict(zip(parameters, channels, strict=True)))

    # KFP reads the parameters of a pipeline from its signature, which here derives from the declared steps.
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(each, kind, annotation=annotation, default=(defaults or {}).get(each, empty))
            for each, annotation in parameters.items()
        ]
    )
    return dsl.pipeline(name=name, display_name=display_name, description=description)(function)
