"""The steps of the paper's benchmarks in local runs and in packages. They exist only if ``evaluation.sets`` names benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.conftest import Project
from tests.pipelines.test_cluster import package_of
from vicur.cluster.keys import cache_keys
from vicur.cluster.preflight.requests import step_requests
from vicur.cluster.workflow import label_of_task
from vicur.config.ablation import AblationConfig
from vicur.config.run import RunConfig
from vicur.config.sources import Sources
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.registry import BENCHMARKS
from vicur.stage.table import STAGES, step_labels
from vicur.steps.parameters import pipeline_parameters
from vicur.steps.preflight_step import require_steps

WEMATH = {"type": "benchmark", "name": "wemath", "path": "bench/wemath", "hash": f"{'0' * 32}.dir"}
JUDGE = {"url": "http://judge:8000/v1", "model": "Qwen3-32B"}


def config(**settings: Any) -> RunConfig:
    """A run of one method with a benchmark."""
    values = {"methods": ["vicur"], "evaluation": {"sets": [WEMATH]}, "benchmarks": {"judge": JUDGE}}
    return RunConfig.model_validate({**values, **settings})


BY_RULES = ["--set", "methods=[vicur]", "--set", f"evaluation.sets=[{json.dumps(WEMATH)}]"]


def test_a_local_run_answers_and_scores_with_every_model(project: Project) -> None:
    done = project.run(*BY_RULES, "--set", "benchmarks.judge.url=none")
    assert done.returncode == 0, done.stdout + done.stderr
    labels = step_labels(config(benchmarks={"judge": {"url": "none"}}))
    # Fakes of base and student have the same content.
    assert {name: state.replace("reused", "finished") for name, state in project.status().items()} == dict.fromkeys(
        labels, "finished"
    )
    assert {f"benchmark-{step} {model}" for step in ("answer", "score") for model in ("base", "vicur")} <= set(labels)
    calls = [json.loads(file.read_text())["inputs"] for file in project.folder.rglob("call.json")]
    assert next(each for each in calls if "base.benchmarks" in each) == [
        "base",
        "base.benchmarks",
        "cues",
        "dataset",
        "vicur",
        "vicur.benchmarks",
    ]


def test_a_missing_harness_is_reported_before_anything_starts(project: Project) -> None:
    done = project.run(
        *BY_RULES,
        "--set",
        "benchmarks.judge={url: 'http://judge:8000/v1', model: m}",
        "--set",
        "benchmarks.python=no/python",
    )
    assert done.returncode != 0
    assert "benchmarks.python no/python: is not there" in done.stderr + done.stdout
    assert "make benchmarks-env" in done.stderr + done.stdout
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"benchmarks": {}}, "benchmarks.judge.url is empty"),
        ({"benchmarks": {"judge": {"url": "http://judge:8000/v1"}}}, "model is empty"),
        ({"benchmarks": {"judge": {"url": "none", "model": "m"}}}, "have no effect"),
        ({"evaluation": {"sets": [WEMATH, WEMATH]}}, "is taken by another evaluation set"),
        ({"evaluation": {"sets": [{**WEMATH, "name": "wemth"}]}}, "wemath"),
        ({"evaluation": {"sets": [{**WEMATH, "hash": "1"}]}}, "hash"),
    ],
)
def test_wrong_settings_are_explained(settings: dict[str, Any], message: str) -> None:
    values = {"methods": ["vicur"], "evaluation": {"sets": [WEMATH]}, "benchmarks": {"judge": JUDGE}, **settings}
    with pytest.raises(VicurError) as error:
        validated(RunConfig, values, Sources("test.yaml"))
    assert message in str(error.value)


def test_an_ablation_refuses_benchmarks() -> None:
    arm = {"name": "vicur", "about": "cue", "method": "vicur"}
    with pytest.raises(VicurError, match="an ablation does not answer"):
        validated(AblationConfig, {"arms": [arm], "evaluation": {"sets": [WEMATH]}}, "test.yaml")


def test_benchmarks_change_no_other_step() -> None:
    plain = RunConfig(methods=("vicur",))
    versions = dict.fromkeys(STAGES, "1")
    before, after = cache_keys(plain, versions), cache_keys(config(), versions)
    changed = {label for label, key in before.items() if after[label] != key}
    assert changed == {"compare", "register"}
    parameters, others = pipeline_parameters(plain), pipeline_parameters(config())
    assert {name: others[name] for name in ("prepare_step", "base_step", "evaluate_base_step")} == {
        name: parameters[name] for name in ("prepare_step", "base_step", "evaluate_base_step")
    }
    assert others["cells"][0]["evaluate"] == parameters["cells"][0]["evaluate"]
    assert "benchmark_answer" not in parameters["cells"][0]


def test_every_benchmark_can_be_named() -> None:
    for name, each in BENCHMARKS.items():
        made = config(evaluation={"sets": [{**WEMATH, "name": name}]}).evaluation.benchmarks[0]
        assert made.has_harness == bool(each.harness)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    made = config(
        benchmarks={"judge": JUDGE, "processes": 4},
        cluster={"gpu_count": 8, "benchmarks_image": "harness:1"},
    )
    return package_of(tmp_path_factory.mktemp("package"), made)


def test_answers_get_gpus_and_scores_the_image_of_the_harness(
    package: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    graph, pods = package
    containers = {name: each["container"] for name, each in graph["deploymentSpec"]["executors"].items()}
    for suffix in ("", "-base"):
        answer, score = (containers[f"exec-benchmark-{step}{suffix}"] for step in ("answer", "score"))
        assert answer["resources"]["accelerator"]["resourceCount"] == "4"
        assert "nodeSelector" in pods[f"exec-benchmark-answer{suffix}"]
        assert score["image"] == "harness:1"
        assert "accelerator" not in score["resources"]
    holders = {
        name for name, pod in pods.items() if any(each["secretName"] == "vicur-judge" for each in pod["secretAsVolume"])
    }
    assert holders == {"exec-benchmark-score", "exec-benchmark-score-base"}
    assert "exec-compare-with-benchmarks" in containers
    assert "exec-compare" not in containers


def test_a_package_without_the_harness_is_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"cluster\.benchmarks_image: is empty"):
        package_of(tmp_path, config())
    package_of(tmp_path, config(benchmarks={"judge": {"url": "none"}}))


def test_preflight_refuses_benchmarks_that_the_package_has_no_steps_for(
    package: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    plain, _ = package_of(tmp_path, RunConfig(methods=("vicur",)))

    def versions(graph: dict[str, Any]) -> dict[str, str]:
        task = _preflight(graph["components"])
        return dict(task["inputs"]["parameters"]["code_versions"]["runtimeValue"]["constant"])

    require_steps(RunConfig(), versions(plain))
    require_steps(config(), versions(package[0]))
    with pytest.raises(VicurError, match="names benchmarks, but the package was compiled without their steps"):
        require_steps(config(), versions(plain))
    with pytest.raises(VicurError, match="names no benchmark, but the package was compiled with their steps"):
        require_steps(RunConfig(), versions(package[0]))


def _preflight(components: dict[str, Any]) -> Any:
    tasks = [each["dag"]["tasks"] for each in components.values() if "dag" in each]
    return next(each["preflight"] for each in tasks if "preflight" in each)


def test_preflight_knows_what_the_steps_request_and_labels_name_them() -> None:
    made = config(benchmarks={"judge": JUDGE, "processes": 2}, cluster={"gpu_count": 4})
    answering = next(each for each in step_requests(made) if "benchmark-answer" in each["steps"])
    assert answering["gpus"] == 2
    assert label_of_task("benchmark-answer-base", "base") == "benchmark-answer base"
    assert label_of_task("compare-with-benchmarks", "") == "compare"
