"""``vicur submit --gpu-check``: a run of one step that checks a GPU node, and its artifacts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from vicur_pipelines.package import write_gpu_check
from vicur_pipelines.submit.packaged import Package, packaged_steps

from tests.gpu_check.test_run import CPU, H200, VALUES
from tests.pipelines.submitting import run_of
from vicur.config.run import RunConfig
from vicur.gpu_check import Options, Report, Result
from vicur.gpu_check.measurement import Measurement
from vicur.steps import gpu_check_step
from vicur.steps.gpu_check_step import run_gpu_check_step

POOL = {
    "gpu_count": 8,
    "nodes": 4,
    "node_selector": {"gpu": "h100"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "queue": "gpus",
    "image": "registry.example.com/vicur:1",
}


def compiled(folder: Path, **cluster: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    file = folder / "check.yaml"
    write_gpu_check(file, RunConfig.model_validate({"cluster": cluster}), None)
    graph, platform = yaml.safe_load_all(file.read_text())
    return graph, platform


def test_the_package_is_one_step_on_a_node_of_the_pool(tmp_path: Path) -> None:
    graph, platform = compiled(tmp_path, **POOL)
    (step,) = packaged_steps(graph, platform).values()
    assert (step.name, step.label, step.has_gpus) == ("gpu-check", "gpu-check", True)
    (executor,) = graph["deploymentSpec"]["executors"].values()
    container = executor["container"]
    assert container["image"] == "registry.example.com/vicur:1"
    assert container["args"][0] == "gpu_check.component:gpu_check"
    # All GPUs of one node, also if trainings are jobs on four.
    assert container["resources"]["accelerator"]["resourceCount"] == "8"
    (pod,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert "h100" in json.dumps(pod["nodeSelector"])
    assert pod["podMetadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert [each["mountPath"] for each in pod["emptyDirMounts"]] == ["/dev/shm"]  # noqa: S108
    (task,) = graph["root"]["dag"]["tasks"].values()
    assert not task.get("cachingOptions", {}).get("enableCache")
    (component,) = graph["components"].values()
    kinds = {
        name: each["artifactType"]["schemaTitle"] for name, each in component["outputDefinitions"]["artifacts"].items()
    }
    assert kinds == {"table": "system.Markdown", "page": "system.HTML", "record": "system.Artifact"}


def test_a_cluster_without_gpus_checks_its_cpu(tmp_path: Path) -> None:
    graph, platform = compiled(tmp_path, gpu_count=0)
    (step,) = packaged_steps(graph, platform).values()
    assert not step.has_gpus
    assert Package.read(tmp_path / "check.yaml").parameters.keys() == {"shapes", "only", "seconds"}


def test_it_is_uploaded_and_started_with_its_parameters(kfp, submit, tmp_path: Path) -> None:
    settings = tmp_path / "pool.yaml"
    settings.write_text(json.dumps({"cluster": POOL}))
    result = submit(
        "--gpu-check", str(settings), "--no-follow", "-p", 'shapes=["2b"]', "-p", "seconds=300", start=False
    )
    assert result.code == 0, result.output
    assert result.output.startswith("vicur-gpu-check sha256-")
    parameters = run_of(kfp).runtime_config.parameters
    assert (parameters["shapes"], parameters["seconds"]) == (["2b"], 300)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--gpu-check", "--pipeline", "distill"), "--gpu-check and --pipeline exclude each other"),
        (("--gpu-check", "--follow", "run-1"), "an existing run needs no package. Omit --gpu-check"),
    ],
)
def test_options_that_would_be_ignored_are_refused(submit, arguments: tuple[str, ...], words: str) -> None:
    result = submit(*arguments, start=False)
    assert result.code == 2
    assert words in " ".join(result.error.split())


def checked(report: Report, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Options, dict[str, Path]]:
    asked: list[Options] = []

    def run_checks(options: Options, on_result: Any) -> Report:
        asked.append(options)
        for result in report.results:
            on_result(result)
        return report

    monkeypatch.setattr(gpu_check_step, "run_checks", run_checks)
    files = {name: folder / name for name in ("table", "page", "record")}
    run_gpu_check_step([], ["ddp"], 60.0, {name: str(file) for name, file in files.items()})
    return asked[0], files


def test_the_table_the_page_and_the_record_are_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    results = [
        Result("ddp", "DDP agrees", "passed", "a | b <c>"),
        Result("vllm", "vLLM", "not checked", "not installed"),
    ]
    report = Report(H200, results, [Measurement.of(VALUES, H200)], None, 61.0)
    options, files = checked(report, tmp_path, monkeypatch)
    assert (options.shapes, options.only, options.seconds) == (("tiny",), ("ddp",), 60.0)
    table = files["table"].read_text().splitlines()
    assert table[0] == "# NVIDIA &lt;H200&gt;: 1 passed, 0 failed, 1 not checked"
    assert "| DDP agrees | passed | a \\| b &lt;c&gt; |" in table
    assert "| rollout | 30 | 83% |  |  |" in table
    assert json.loads(files["record"].read_text())["passed"] is True
    assert "<html" in files["page"].read_text()
    assert "DDP agrees" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (
            [Result("ddp", "DDP agrees", "failed", "1 != 2"), Result("bf16", "bf16 agrees", "passed", "")],
            "gpu-check, Test CPU: 1 of 2 checks failed: ddp.",
        ),
        ([Result("vllm", "vLLM", "not checked", "not installed")], "no check could be made."),
    ],
)
def test_a_failed_check_fails_the_step_with_its_name(
    results: list[Result], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    with pytest.raises(SystemExit) as ended:
        checked(Report(CPU, results, [], None, 1.0), tmp_path, monkeypatch)
    assert ended.value.code == 1
    assert words in capsys.readouterr().err
