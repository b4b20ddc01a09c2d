"""``vicur doctor`` for a compiled package, as on the page of the first run: against a complete installation, and one with gaps."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.cli.calling import Command, caller
from tests.cluster.preflight.doubles import KubernetesDouble, node, pod
from vicur.commands.package import package_config
from vicur.config.ablation import AblationConfig

REPO = Path(__file__).parents[3]
PAGE = (REPO / "docs" / "first-run.md").read_text(encoding="utf-8").replace("\\\n", " ")


def line(command: str) -> list[str]:
    """Return the words of a command on the page."""
    (found,) = [each for each in PAGE.splitlines() if each.startswith(f"    vicur {command} ")]
    return shlex.split(found)[1:]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package of the page."""
    from vicur_pipelines.commands import write_compiled

    words = line("compile")
    file = tmp_path_factory.mktemp("package") / "tiny.yaml"
    overrides = [words[number + 1] for number, word in enumerate(words) if word == "--set"]
    write_compiled(file, REPO / words[1], overrides, words[words.index("--image") + 1], True, "cluster")
    return file


@pytest.fixture
def cluster(kubernetes: KubernetesDouble, monkeypatch: pytest.MonkeyPatch) -> KubernetesDouble:
    """Return the installation of the page: one small node without a GPU, and services that only pods can reach."""
    for name in ("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    kubernetes.namespace = "kubeflow"
    kubernetes.nodes = [node("only", gpus=0, cpu="4", memory="8Gi")]
    kubernetes.pods = [pod("kfp", "only", "2", "3Gi")]
    kubernetes.groups = {"argoproj.io": ["v1alpha1"]}
    kubernetes.quotas = []
    kubernetes.config_maps["kubeflow", "vicur-endpoints"] = {
        "MLFLOW_TRACKING_URI": "http://mlflow.kubeflow.svc.cluster.local:5000",
        "AWS_ENDPOINT_URL_S3": "http://seaweedfs.kubeflow:9000",
    }
    return kubernetes


@pytest.fixture
def vicur(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    del place
    return caller(monkeypatch, capfd)


def found(output: str) -> dict[str, dict[str, str]]:
    return {each["name"]: each for each in json.loads(output)["checks"]}


FREE = ("--need", "free_gib=0.1", "--json")


def doctor(package: Path) -> tuple[str, ...]:
    return tuple(str(package) if word == "tiny.yaml" else word for word in line("doctor"))


@pytest.mark.usefixtures("cluster")
def test_the_page_of_the_first_run_passes_on_a_complete_installation(vicur: Command, package: Path) -> None:
    result = vicur(*doctor(package), *FREE)
    checks = found(result.output)
    assert result.code == 0, result.output
    assert {name for name, each in checks.items() if each["status"] == "warning"} <= {
        "images",
        "bucket s3://mlpipeline/vicur-checkpoints",
    }
    assert "steps use http://mlflow.kubeflow.svc.cluster.local:5000" in checks["tracking for all"]["what"]
    assert "http://seaweedfs.kubeflow:9000" in checks["bucket s3://mlpipeline/vicur-checkpoints"]["what"]
    assert "each step fits a node" in checks["step sizes"]["what"]


def test_gaps_of_an_installation_are_found(vicur: Command, package: Path, cluster: KubernetesDouble) -> None:
    del cluster.config_maps["kubeflow", "vicur-endpoints"]
    cluster.nodes = [node("only", gpus=0, cpu="2", memory="2Gi")]
    result = vicur(*doctor(package), *FREE)
    checks = found(result.output)
    assert result.code == 1
    assert (
        "the ConfigMap vicur-endpoints does not exist in the namespace kubeflow" in checks["tracking for all"]["what"]
    )
    assert checks["step sizes"]["status"] == "failed"


@pytest.mark.usefixtures("cluster")
def test_settings_of_a_package_can_be_overridden(vicur: Command, package: Path) -> None:
    large = ("--set", "cluster.cpu_steps.memory=32Gi")
    assert "evaluate, train request 200m CPU and 32Gi of memory" in vicur(*doctor(package), *large, *FREE).output
    wrong = vicur(*doctor(package), "--set", "cluster.cpu_step.memory=1Gi")
    assert (wrong.code, "cluster.cpu_step" in wrong.error) == (2, True)


@pytest.mark.usefixtures("cluster")
def test_server_whose_name_only_the_cluster_knows_is_a_warning(vicur: Command, package: Path) -> None:
    there = (
        "--set",
        "tracking.uri=http://mlflow.nowhere.invalid:5000",
        "--need",
        "cue_endpoint=http://cue.invalid:8000/v1",
    )
    checks = found(vicur(*doctor(package), *there, *FREE).output)
    assert {checks[name]["status"] for name in ("tracking", "cue endpoint")} == {"warning"}
    assert "does not know the host mlflow.nowhere.invalid" in checks["tracking"]["what"]


@pytest.mark.usefixtures("cluster")
def test_addresses_in_a_store_of_the_cluster_are_left_to_the_first_step(vicur: Command, package: Path) -> None:
    there = ("--set", "base.path=s3://models/2B", "--set", "data={type: remote, uri: s3://data/questions}")
    checks = found(vicur(*doctor(package), *there, *FREE).output)
    for name in ("model s3://models/2B", "dataset"):
        assert (checks[name]["status"], "http://seaweedfs.kubeflow:9000" in checks[name]["what"]) == ("warning", True)


def test_account_that_may_not_read_the_addresses_gets_a_warning(
    vicur: Command, package: Path, cluster: KubernetesDouble
) -> None:
    cluster.denied = {("get", "", "configmaps")}
    checks = found(vicur(*doctor(package), "--set", "checkpoints=''", *FREE).output)
    assert checks["tracking for all"]["status"] == checks["workflow controller"]["status"] == "warning"
    assert "may not read the ConfigMap vicur-endpoints" in checks["tracking for all"]["what"]


def test_compile_and_doctor_take_the_same_configuration(vicur: Command) -> None:
    for form in (("--config", str(REPO / "configs/local.yaml")), (str(REPO / "configs/local.yaml"),)):
        assert vicur("doctor", *form, *FREE).code == 0
    ablation = vicur("doctor", str(REPO / "configs/ablation.yaml"), "--pipeline", "ablation", *FREE)
    assert ablation.code == 0, ablation.output + ablation.error
    both = vicur("doctor", "a.yaml", "--config", "b.yaml")
    assert (both.code, "more than one configuration" in both.error) == (2, True)
    ignored = vicur("doctor", "--package", "p.yaml", "--pipeline", "ablation")
    assert (ignored.code, "--pipeline ablation has no effect" in ignored.error) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("a: [", "it is not YAML"),
        ("name: local", "it is not a pipeline"),
        ("root: {dag: {tasks: {}}}", "has no preset"),
        ("!!python/object/apply:os.system [true]", "it is not YAML"),
    ],
)
def test_file_that_is_no_package_is_rejected(vicur: Command, place: Path, text: str | None, words: str) -> None:
    if text is not None:
        (place / "package.yaml").write_text(text)
    result = vicur("doctor", "--package", "package.yaml")
    assert result.code == 2
    assert words in result.error
    assert "vicur compile" in result.error


@pytest.mark.parametrize("name", ["cluster", "distill", "ablation"])
def test_configuration_of_each_package_is_read(name: str) -> None:
    config = package_config(REPO / "pipelines" / "compiled" / f"{name}.yaml")
    assert isinstance(config, AblationConfig) == (name == "ablation")
    assert config.base.path == "tiny"
