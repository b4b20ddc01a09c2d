"""Two processes on CPUs make the update that one makes: replicated (DDP) and sharded (FSDP2), whatever is trained and by whom taught."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from vicur.training.course import finished_student

from tests.training.factory import learner_for, taught
from tests.training.together import CASES, STEPS, Outcome, outcome
from vicur.config.training import TrainConfig, TrainingConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.modeling import load_model, save_model
from vicur.processes.machines import Machines
from vicur.training import world as processes_module
from vicur.training.checkpoint import trained_weights
from vicur.training.metrics import Metrics
from vicur.training.step import training_step
from vicur.training.train import require_equal_shares
from vicur.training.world import World, devices_of, process_count

STRATEGIES = ("ddp", "fsdp")
ALONE = World.alone("cpu")
EXACT = [name for name in CASES if "bf16" not in name]


@pytest.fixture(scope="module")
def together(base, tmp_path_factory):
    """Gives the outcome of a case in two processes. Those of a strategy are started once, for all cases."""

    @cache
    def trained(strategy: str) -> Path:
        folder = tmp_path_factory.mktemp(strategy)
        command = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.training.together"]
        done = subprocess.run(
            [sys.executable, "-m", *command, str(base), str(folder), strategy],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return folder

    def of(name: str, strategy: str) -> Outcome:
        told = load_file(trained(strategy) / f"{name}.metrics.safetensors")
        accuracy = float(told.pop("accuracy"))
        steps: list[dict[str, float]] = [{} for _ in range(STEPS)]
        for key, value in told.items():
            number, _, metric = key.partition(".")
            steps[int(number)][metric] = float(value)
        return Outcome(steps, accuracy, load_file(trained(strategy) / f"{name}.weights.safetensors"))

    return of


@pytest.fixture(scope="module")
def alone(base):
    return cache(lambda name: outcome(name, base, ALONE))


def untimed(metrics: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if not k.startswith("seconds/") and k != "tokens_per_second"}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", EXACT)
def test_two_processes_make_the_updates_of_one(together, alone, name, strategy):
    """All metrics, and all weights after two updates at a learning rate of 1e-3, of which Adam's first moves nearly all by 1e-4."""
    one, two = alone(name), together(name, strategy)
    for expected, found in zip(one.steps, two.steps, strict=True):
        assert untimed(found) == pytest.approx(untimed(expected), rel=1e-4, abs=1e-6)
    assert two.accuracy == one.accuracy
    assert two.weights.keys() == one.weights.keys()
    for weight, expected in one.weights.items():
        # Adam takes the sign of a gradient that is nearly zero, which rounding may turn.
        assert torch.allclose(two.weights[weight], expected, atol=3e-5), weight


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_in_bfloat16_two_processes_do_nearly_what_one_does_in_float32(together, alone, strategy):
    exact, rounded = alone("vicur, k1, in micro-batches"), together("vicur, bf16", strategy)
    assert rounded.steps[0]["entropy"] == pytest.approx(exact.steps[0]["entropy"], rel=0.02)
    assert rounded.weights.keys() == exact.weights.keys()
    assert {weight.dtype for weight in rounded.weights.values()} == {torch.float32}


def test_in_bfloat16_one_process_makes_nearly_the_same_update(base):
    rows = taught(learner_for(base, method="sft", rollout={"max_new_tokens": 40}))[:4]
    settings = {"method": "sft", "rollout": {"max_new_tokens": 40}, "learning_rate": 1e-3}
    exact, rounded = (learner_for(base, mixed_precision=precision, **settings) for precision in ("none", "bf16"))
    one, other = (training_step(learner, rows, 0) for learner in (exact, rounded))
    for name in ("loss", "gradient_norm", "entropy"):
        assert other[name] == pytest.approx(one[name], rel=0.02)
        assert other[name] != one[name]
    assert {weight.dtype for weight in rounded.student.parameters()} == {torch.float32}


def test_what_is_frozen_is_held_in_bfloat16_and_what_is_trained_in_float32(base):
    learner = learner_for(base, method="vicur", mixed_precision="bf16", trained={"type": "lora", "rank": 4})
    kinds = {(weight.requires_grad, weight.dtype) for weight in learner.student.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    assert {weight.dtype for weight in learner.teacher.model.parameters()} == {torch.bfloat16}


def test_a_base_in_bfloat16_learns_in_float32_where_small_updates_count(base, tmp_path):
    """An update of 1e-6 is lost to rounding in bfloat16."""
    save_model(load_model(base, dtype=torch.bfloat16), tmp_path / "half", chat_folder=base)
    learner = learner_for(
        tmp_path / "half", method="sft", learning_rate=1e-6, warmup_steps=0, rollout={"max_new_tokens": 40}
    )
    before = {name: weight.clone() for name, weight in learner.student.named_parameters()}
    training_step(learner, taught(learner)[:2], 0)
    moved = [name for name, weight in learner.student.named_parameters() if not torch.equal(weight, before[name])]
    assert len(moved) == len(before)


def test_a_student_that_computed_in_bfloat16_is_saved_in_its_bases_type(base, tmp_path):
    save_model(load_model(base, dtype=torch.bfloat16), tmp_path / "half", chat_folder=base)
    for folder, kind in ((tmp_path / "half", torch.bfloat16), (base, torch.float32)):
        learner = learner_for(folder, method="opsd", mixed_precision="bf16")
        best = learner.processes.collect(dict(learner.student.named_parameters()))
        assert {weight.dtype for weight in finished_student(learner, best, folder).parameters()} == {kind}


def test_updates_too_small_for_bfloat16_are_merged_into_a_student_that_is_saved_in_float32(base):
    """All weights of an update are 1e-4, so it adds alpha / rank times rank times 1e-8 to each weight, of 0.06 as a rule."""
    learner = learner_for(
        base, method="opsd", mixed_precision="bf16", trained={"type": "lora", "rank": 4, "alpha": 400}
    )
    best = {name: torch.full_like(weight, 1e-4) for name, weight in trained_weights(learner.student).items()}
    before = load_model(base, dtype=torch.bfloat16).get_submodule("model.language_model.layers.0.mlp.up_proj").weight
    after = finished_student(learner, best, base).get_submodule("model.language_model.layers.0.mlp.up_proj").weight
    assert torch.allclose(after - before.float(), torch.tensor(4e-6), rtol=0, atol=1e-8)


def test_activations_that_are_computed_again_give_the_same_gradients_from_fewer_saved_tensors(base):
    def saved(enabled: bool) -> tuple[int, dict[str, float], dict[str, torch.Tensor]]:
        learner = learner_for(base, method="vicur", gradient_checkpointing=enabled)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            metrics = training_step(learner, taught(learner)[:4], 0)
        return sum(sizes), metrics, dict(learner.student.named_parameters())

    (kept, plain, weights), (kept_again, again, weights_again) = saved(False), saved(True)
    assert kept_again < 0.7 * kept
    assert untimed(again) == pytest.approx(untimed(plain), rel=1e-6)
    for name, weight in weights.items():
        assert torch.allclose(weight, weights_again[name], atol=1e-6), name


def test_rollouts_keep_their_cache_where_activations_are_computed_again(base, caplog):
    learner = learner_for(base, method="vicur", gradient_checkpointing=True)
    training_step(learner, taught(learner)[:2], 0)
    assert not any("Caching is incompatible" in record.message for record in caplog.records)
    assert not any(module.training for module in learner.student.modules())


def test_gradients_are_given_back_after_the_update(base):
    learner = learner_for(base, method="opsd")
    training_step(learner, taught(learner)[:2], 0)
    assert all(weight.grad is None for weight in learner.student.parameters())


@pytest.mark.parametrize(
    ("processes", "problem"), [(3, "a batch of 32 prompts cannot be shared equally by 3 processes"), (64, "by 64")]
)
def test_a_batch_that_cannot_be_shared_equally_is_refused(processes, problem):
    with pytest.raises(VicurError, match=problem):
        require_equal_shares(TrainConfig(), processes)
    require_equal_shares(TrainConfig(), 4)


def test_processes_are_one_a_gpu_and_half_as_many_beside_teachers_with_gpus_of_their_own(monkeypatch):
    monkeypatch.setattr(processes_module.torch.cuda, "device_count", lambda: 8)
    shared, apart = (
        TrainConfig(distribution={"teacher_devices": kind}).distribution for kind in ("shared", "separate")
    )
    assert (process_count(shared, "cuda"), process_count(apart, "cuda"), process_count(shared, "cpu")) == (8, 4, 1)
    assert devices_of(1, shared, "cuda") == (torch.device("cuda", 1), torch.device("cuda", 1))
    assert devices_of(1, apart, "cuda") == (torch.device("cuda", 1), torch.device("cuda", 5))


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(processes_module.torch.cuda, "device_count", lambda: 4)
    asked = TrainConfig(distribution={"processes": 4, "teacher_devices": "separate"}).distribution
    with pytest.raises(VicurError, match="4 processes need 8 GPUs, and each machine has 4"):
        process_count(asked, "cuda")
    with pytest.raises(VicurError, match="GPUs of its own only where there are GPUs"):
        process_count(asked, "cpu")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"method": "vicur", "teacher": {"type": "self-ema"}, "distribution": {"teacher_devices": "separate"}},
            "the teacher self-ema has no weights of its own to put on other GPUs",
        ),
        ({"method": "grpo", "distribution": {"teacher_devices": "separate"}}, "there is no teacher"),
        (
            {"method": "opsd", "batch_size": 32, "distribution": {"processes": 3}},
            "a batch of 32 prompts cannot be shared equally by 3 processes",
        ),
        (
            {
                "method": "vicur",
                "teacher": {"type": "self-adapter-off"},
                "trained": {"type": "lora", "vision": True},
                "distribution": {"strategy": "fsdp"},
            },
            "a vision tower that is sharded encodes for all processes at once",
        ),
    ],
)
def test_what_cannot_be_spread_is_refused_before_anything_is_loaded(settings, problem):
    with pytest.raises(VicurError, match=problem):
        TrainConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"PET_NNODES": "1:4"}, "is no whole number"),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "2", "PET_MASTER_ADDR": "here"}, "machine 2 is not among 2"),
        ({"PET_NNODES": "0"}, "machine 0 is not among 0"),
        ({"PET_NNODES": "2", "PET_MASTER_ADDR": "here"}, "2 machines do not know which of them this is"),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "0"}, "2 machines do not know where to find each other"),
    ],
)
def test_machines_that_are_told_apart_wrongly_are_refused(monkeypatch, variables, problem):
    for name in ("PET_NNODES", "PET_NODE_RANK", "PET_MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(VicurError, match=problem):
        Machines.from_environment()


@pytest.mark.parametrize("value", [0, -1, 1.5, float("inf"), True, "two", None, "2"])
def test_a_number_of_processes_that_is_none_is_refused_in_plain_words(value):
    with pytest.raises(VicurError, match=r"distribution.processes must be a whole number of at least 1, or 'auto'"):
        validated(TrainingConfig, {"distribution": {"processes": value}}, "training")


def test_a_whole_number_that_kfp_passes_as_a_float_is_one():
    assert TrainConfig(distribution={"processes": 2.0}).distribution.processes == 2


def test_without_torchruns_variables_there_is_one_machine(monkeypatch):
    for name in ("PET_NNODES", "PET_NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Machines.from_environment() == Machines(count=1, rank=0)


def test_settings_of_memory_and_time_are_no_part_of_what_a_training_is():
    plain = TrainConfig()
    spread = TrainConfig(
        distribution={"processes": 8, "strategy": "fsdp"},
        micro_batch_size=1,
        rollout_batch_size=2,
        gradient_checkpointing=True,
    )
    assert plain.identity() == spread.identity()
    assert plain.identity() != TrainConfig(mixed_precision="bf16").identity()
    assert plain.identity() != TrainConfig(learning_rate=1e-5).identity()


def test_a_process_takes_every_nth_row_and_hands_over_nothing_but_from_the_first():
    second = World(torch.device("cpu"), torch.device("cpu"), rank=1, count=3)
    assert second.share(list(range(8))) == [1, 4, 7]
    assert second.collect({"weight": torch.ones(2)}) == {}
    assert ALONE.share([1, 2]) == [1, 2]
    kept = ALONE.collect({"weight": (weight := torch.ones(2))})
    weight.zero_()
    assert kept["weight"].tolist() == [1, 1]


def test_tallies_of_processes_add_up_to_that_of_the_whole():
    one, other, nothing = Metrics(), Metrics(), Metrics()
    one.average("mean", 6, 2)
    other.average("mean", 3, 1)
    nothing.average("mean", 0, 0)
    one.add("sum", 2)
    other.add("sum", 3)
    whole = Metrics()
    whole.join([one, other, nothing])
    assert whole.metrics() == {"mean": 3, "sum": 5}
    assert nothing.metrics() == {}
