"""vLLM in each of two training processes: the same training as with the trained model itself, and resuming after SIGKILL."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.training.conftest import base, created_once, curves, inputs, session  # noqa: F401 (fixtures)
from tests.training.train_once import SETTINGS, train_once
from tests.vllm.engine import ENVIRONMENT
from tests.vllm.isolated import isolated
from tests.vllm.processes import CASES, ENGINE, base_for, outcome
from vicur.config.training import TrainConfig
from vicur.training.world import World

pytestmark = pytest.mark.vllm
_SECONDS = 300.0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Return a function that gives the result of a case in two processes. They are started once, for all cases."""

    def create(folder: Path) -> None:
        command = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.vllm.processes"]
        for name in CASES:
            base_for(name, folder / f"base of {name}")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in ENVIRONMENT.items():
                patch.setenv(name, value)
            done = subprocess.run(
                [sys.executable, "-m", *command, str(folder), *CASES],
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        assert done.returncode == 0, done.stderr[-6000:]

    folder = created_once(tmp_path_factory, "vllm-together", create)
    return lambda name: json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_two_greedy_steps_are_those_of_the_trained_model_itself(name, together, tmp_path) -> None:
    """With an engine in each process, also one that sleeps between rollouts, and with one that both processes share."""
    own = outcome(name, base_for(name, tmp_path / "base"), tmp_path, World.single("cpu"), own=True)
    found = together(name)
    assert found["accuracies"] == own["accuracies"]
    for expected, step in zip(own["steps"], found["steps"], strict=True):
        for metric in ("loss", "gradient_norm", "entropy", "gap/whole", "response_tokens"):
            assert step[metric] == pytest.approx(expected[metric], rel=1e-3, abs=1e-5), metric
        assert step["rollout/logprob_gap_max"] < 1e-4


@pytest.mark.slow
def test_the_number_of_processes_does_not_change_what_is_sampled(together, tmp_path) -> None:
    name = next(iter(CASES))
    alone = isolated(outcome, name, base_for(name, tmp_path / "base"), tmp_path, World.single("cpu"))
    assert [tuple(ids) for ids in together(name)["ids"]] == alone["ids"]
    assert len(set(alone["ids"])) > 8


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_training_in_two_processes_resumes_bit_for_bit_after_sigkill(strategy, inputs, tmp_path) -> None:  # noqa: F811
    settings = TrainConfig.model_validate(
        {
            **SETTINGS.model_dump(),
            "steps": 4,
            "rollout": {"max_new_tokens": 6, "engine": ENGINE},
            "distribution": {"processes": 2, "strategy": strategy},
        }
    )
    whole = train_once(inputs, tmp_path / "whole", settings)
    killed, kept = tmp_path / "killed", tmp_path / "kept"
    process = get_context("spawn").Process(
        target=train_once, args=(inputs, killed, settings), kwargs={"checkpoints": str(kept)}
    )
    process.start()
    deadline = time.monotonic() + _SECONDS
    while not (kept / "step-000002").exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (kept / "step-000004").exists()
    resumed = train_once(inputs, killed, settings, checkpoints=str(kept))
    assert curves(resumed) == curves(whole)
    weights = [load_file(student / "model.safetensors") for student in (resumed, whole)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
