"""A new objective is a class in ``vicur/config/objective.py`` and a function next to its formula: it then works, or fails loudly."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

import vicur
from vicur.config.objective import GroupObjective, Objective
from vicur.stage.code_version import modules_behind
from vicur.training.objectives import divergence, require_registered, token_loss

CLASS = '''
class Hinge(Objective):
    """Raise tokens that the teacher finds more likely by a margin."""

    signal = "sampled"
    reads = frozenset({"teacher"})

    type: Literal["hinge"] = "hinge"
    margin: float = 0.1
    """The margin, in nats."""


'''
FORMULA = """

@token_loss(Hinge)
def _hinge(objective: Hinge, scores: TokenScores) -> LossAndMetrics:
    excess_N = scores.teacher_N - scores.student_N - objective.margin
    return weighted_sum(excess_N.clamp(min=0), scores.weights_N), {"hinge/active": float((excess_N > 0).float().mean())}
"""
# Runs with the copy of the package, whose two files are edited.
CHECK = """
import math
import pytest, vicur
from tests.training.factory import examples_for, save_random_base, state_for
from pathlib import Path
from vicur.config.objective import Hinge
from vicur.config.run import RunConfig
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.planning import make_plan, plan_input
from vicur.training.step import training_step
import sys

assert Path(vicur.__file__).is_relative_to(sys.argv[1]), vicur.__file__
assert TrainConfig(method="vicur", objective="hinge").effective.objective == Hinge()

# It trains.
state = state_for(save_random_base(Path(sys.argv[1]) / "base"), method="vicur", objective={"type": "hinge", "margin": 0.5})
metrics = [training_step(state, examples_for(state)[:4], step) for step in range(2)]
assert all(math.isfinite(each["loss"]) and each["gradient_norm"] > 0 for each in metrics), metrics
assert 0 < metrics[0]["hinge/active"] < 1 and "gap/whole" in metrics[0]

# It is planned, as what its declarations say.
run = RunConfig.model_validate({"methods": ["vicur"], "training": {"objective": "hinge"}})
inputs = plan_input(run, "vicur")
assert (inputs.objective, inputs.on_policy, inputs.whole_vocabulary) == ("hinge", True, False)
assert make_plan(inputs)

# It is rejected where it cannot work, and offered where it can.
for method in ("grpo", "sft"):
    with pytest.raises(VicurError, match="hinge compares the student with a teacher"):
        TrainConfig(method=method, objective="hinge")
with pytest.raises(VicurError, match="which the objective hinge does not have"):
    TrainConfig(method="vicur", objective="hinge", updates_per_batch=2)
with pytest.raises(VicurError, match="choose the objective k1, k2, k3, abs, mse or hinge"):
    TrainConfig.model_validate({"objective": "jsd", "teacher": {"type": "self-frozen", "engine": "vllm"}})
"""


def edited(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file.write_text(text)


def test_two_edited_files_add_an_objective_that_trains_is_planned_and_is_checked(tmp_path):
    package = tmp_path / "vicur"
    shutil.copytree(Path(vicur.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    edited(
        package / "config" / "objective.py",
        ("\nObjectiveConfig = ", f"{CLASS}ObjectiveConfig = "),
        ("Grpo | Supervised,", "Grpo | Supervised | Hinge,"),
    )
    sampled = package / "training" / "objectives" / "sampled.py"
    edited(
        sampled,
        ("import K1, K2, K3, Abs, Grpo, Mse, Supervised", "import K1, K2, K3, Abs, Grpo, Hinge, Mse, Supervised"),
    )
    sampled.write_text(sampled.read_text() + FORMULA)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


class Unregistered(Objective):
    signal = "sampled"
    reads = frozenset({"teacher"})
    type: Literal["unregistered"] = "unregistered"


class UnregisteredDivergence(Objective):
    signal = "vocabulary"
    reads = frozenset({"teacher"})
    type: Literal["unregistered_divergence"] = "unregistered_divergence"


@pytest.mark.parametrize(("kind", "decorator"), [(Unregistered, "token_loss"), (UnregisteredDivergence, "divergence")])
def test_objective_without_a_loss_is_rejected(kind, decorator):
    with pytest.raises(TypeError, match=rf"objective {kind.__name__} has no loss: register one with @{decorator}"):
        require_registered([kind])


def test_loss_of_the_wrong_kind_cannot_be_registered():
    with pytest.raises(TypeError, match="register its divergence"):
        token_loss(UnregisteredDivergence)
    with pytest.raises(TypeError, match="register its token loss"):
        divergence(Unregistered)


@pytest.mark.parametrize(
    ("bases", "declared", "problem"),
    [
        ((Objective,), {}, "does not declare signal and reads"),
        ((Objective,), {"signal": "sampled"}, "does not declare reads"),
        ((Objective,), {"signal": "logits", "reads": frozenset({"teacher"})}, "unknown signal or source"),
        ((Objective,), {"signal": "sampled", "reads": frozenset({"student"})}, "unknown signal or source"),
        ((Objective,), {"signal": "vocabulary", "reads": frozenset()}, "does not read a teacher"),
        ((Objective,), {"signal": "topk", "reads": frozenset({"teacher"})}, "no field k"),
        ((Objective,), {"signal": "sampled", "reads": frozenset({"advantage"})}, "must derive from GroupObjective"),
        ((GroupObjective,), {"signal": "sampled", "reads": frozenset({"teacher"})}, "must derive from GroupObjective"),
        (
            (Objective,),
            {"signal": "sampled", "reads": frozenset(), "is_policy_gradient": True},
            "cannot be a policy gradient",
        ),
    ],
)
def test_incomplete_or_contradicting_declarations_are_rejected(bases, declared, problem):
    with pytest.raises(TypeError, match=f"objective Wrong .*{problem}"):
        type(
            "Wrong",
            bases,
            {"__annotations__": {"type": Literal["wrong"]}, "type": "wrong", "__module__": __name__, **declared},
        )


def test_formulas_of_all_objectives_are_part_of_the_code_version():
    folder = Path(vicur.__file__).parent / "training" / "objectives"
    modules = {f"vicur.training.objectives.{file.stem}" for file in folder.glob("*.py") if file.stem != "__init__"}
    assert modules <= modules_behind("vicur.training.train")
