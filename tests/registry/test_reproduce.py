"""A version is made again from what it records."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from contextlib import chdir
from pathlib import Path

import pytest
import yaml

from tests.cli.calling import Command, caller
from tests.evaluation.conftest import context
from tests.evaluation.factory import BASE, write_evaluation
from tests.registry.factory import GOOD, run_register
from vicur.config.comparison import ComparisonConfig
from vicur.config.loading import load_config
from vicur.config.tracking import TrackingConfig
from vicur.data import read_examples
from vicur.evaluation.compare import compare
from vicur.registry.provenance import Provenance, provenance_of
from vicur.registry.reproduction import differences
from vicur.registry.versions import get_version
from vicur.stage.environment import Environment
from vicur.tracking.mlflow import connect

RUN = """
seed: 3
methods: [opsd, vicur]
data:
  type: digit_scenes
  base: {digits_per_class: 2, scenes: 2}
  distill: {digits_per_class: 4, scenes: 6}
  validation: {digits_per_class: 2, scenes: 2}
  test: {digits_per_class: 2, scenes: 40}
  ood: {digits_per_class: 2, scenes: 2}
cues: {provider: annotation}
training:
  objective: forward_kl
  steps: 2
  batch_size: 4
  validate_every: 1
  validation_examples: 4
  learning_rate: 0.001
  rollout: {max_new_tokens: 6}
  per_method: {vicur: {recovery: {interval: 1}}}
registry: {model: students}
"""


@pytest.fixture
def vicur(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return caller(monkeypatch, capfd)


@pytest.fixture
def trained(project: Path, empty_store: Path, vicur: Command) -> Provenance:
    """A student that was trained by commands, as version 1 of ``students``, with simulated evaluations."""
    shutil.copytree(empty_store, "mlflow")
    Path("first").mkdir()
    Path("first/run.yaml").write_text(RUN)
    config = "--config=first/run.yaml"
    for command in ("data prepare -o first/data", "cues extract --dataset first/data -o first/cues"):
        assert vicur(*command.split(), config).code == 0
    result = vicur("train", config, "--dataset=first/data", "--cues=first/cues", "--output=first/student")
    assert result.code == 0, result.error
    inputs = {name: Path("first", name) for name in ("student", "cues", "comparison")} | {"dataset": Path("first/data")}
    rows = [e for split in ("validation", "test", "ood") for e in read_examples(inputs["dataset"], split)]
    inputs["evaluation"] = write_evaluation(GOOD, rows, Path("first/evaluation"))
    inputs["base_evaluation"] = write_evaluation(BASE, rows, Path("first/base_evaluation"))
    inputs["comparison"].mkdir()
    compared = {"dataset": inputs["dataset"], "cues": inputs["cues"], "base": inputs["base_evaluation"]}
    settings = ComparisonConfig(resamples=1000, cards=3)
    compare(settings, {**compared, "vicur": inputs["evaluation"]}, inputs["comparison"], context(project))
    run_register(inputs, config=load_config(Path("first/run.yaml")).registry)
    client = connect(TrackingConfig())
    return provenance_of(client, get_version(client, "students", "1"))


def sha256(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def test_a_version_is_made_again_bit_for_bit(trained: Provenance, vicur: Command) -> None:
    assert trained.run["data"]["test"]["scenes"] == 40
    assert trained.run["cues"]["provider"] == {"type": "annotation"}
    assert (trained.run["seed"], trained.run["base"], trained.run["methods"]) == (3, {"path": "tiny"}, ["vicur"])
    assert trained.environment.packages["torch"]
    assert (trained.environment.processes, trained.environment.threads) == (1, 1)

    written = vicur("reproduce", "models:/students@champion", "--output", "again")
    assert written.code == 0, written.error
    assert "sh again/reproduce.sh" in written.output
    assert written.error.count("Note: ") == 1, "here everything is as it was"
    again = yaml.safe_load(Path("again/run.yaml").read_text())
    assert again["training"]["recovery"]["interval"] == 1, "settings of the method are settings of its run"
    commands = [
        shlex.split(line) for line in Path("again/reproduce.sh").read_text().splitlines() if line[:5] == "vicur"
    ]
    with chdir("again"):
        for _, *arguments in commands:
            done = vicur(*arguments)
            assert done.code == 0, done.error
    assert "This is students/1, bit for bit." in done.output
    assert sha256("again/student/model.safetensors") == sha256("first/student/model.safetensors")
    client = connect(TrackingConfig())
    assert len(client.search_model_versions("name = 'students'")) == 1

    # A student of another seed is not the version, and the first difference is in its data.
    with chdir("again"):
        shutil.rmtree("data")
        assert vicur("data", "prepare", "--config", "run.yaml", "--set", "seed=4", "--output", "data").code == 0
    wrong = vicur("reproduce", "--check", "again")
    assert wrong.code == 1
    assert "The first difference is in the dataset" in wrong.output


def test_what_differs_on_this_machine_is_named() -> None:
    here = Environment.here("0123456789abcdef", "cpu, AVX2", 1, 1)
    assert len(list(differences(here, here.code))) == 1
    packages = {**here.packages, "torch": "2.0.0", "vllm": "0.30"}
    there = here.model_copy(update={"packages": packages, "processes": 8, "code": "f" * 16, "revision": "abc+"})
    said = list(differences(there, here.code))
    assert f"torch is {here.packages['torch']} here, and was 2.0.0." in said
    assert "vllm is absent here, and was 0.30." in said
    assert any("commit abc+, and changes that were not committed" in each for each in said)
    assert "8 processes" in said[-1]
    assert "not recorded" in " ".join(differences(Environment(), here.code))
