"""Two processes on CPUs make the same updates as one, replicated (DDP) and sharded (FSDP2)."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import created_once
from tests.training.factory import examples_for, state_for
from tests.training.together import BUCKET, CASES, STEPS, STRATEGIES, Outcome, outcome
from vicur.config.training import TrainConfig, TrainingConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.modeling import load_model, save_model
from vicur.training import world as world_module
from vicur.training.checkpoint import trained_weights
from vicur.training.state import final_student
from vicur.training.step import training_step
from vicur.training.train import require_equal_shares
from vicur.training.world import World, devices_for, local_process_count

SINGLE = World.single("cpu")
EXACT = [name for name in CASES if "bf16" not in name]


@pytest.fixture(scope="module")
def together(base, tmp_path_factory):
    """Return a function that gives the result of a case in two processes. They are started once, for all cases."""

    def create(folder: Path) -> None:
        command = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.training.together"]
        done = subprocess.run(
            [sys.executable, "-m", *command, str(base), str(folder)],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]

    folder = created_once(tmp_path_factory, "together", create)

    def of(name: str, strategy: str) -> Outcome:
        metrics = load_file(folder / strategy / f"{name}.metrics.safetensors")
        accuracy = float(metrics.pop("accuracy"))
        steps: list[dict[str, float]] = [{} for _ in range(STEPS)]
        for key, value in metrics.items():
            number, _, metric = key.partition(".")
            steps[int(number)][metric] = float(value)
        return Outcome(steps, accuracy, load_file(folder / strategy / f"{name}.weights.safetensors"))

    return of


@pytest.fixture(scope="module")
def alone(base):
    return cache(lambda name: outcome(name, base, SINGLE))


def untimed(metrics: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if not k.startswith(("seconds/", "bucket/")) and k != "tokens_per_second"}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", EXACT)
def test_two_processes_make_the_updates_of_one(together, alone, name, strategy):
    """All metrics are equal, and all weights after two updates. Adam's first update moves nearly all weights by 1e-4."""
    one, two = alone(name), together(name, strategy)
    for expected, found in zip(one.steps, two.steps, strict=True):
        assert untimed(found) == pytest.approx(untimed(expected), rel=1e-4, abs=1e-6)
    assert two.accuracy == one.accuracy
    assert two.weights.keys() == one.weights.keys()
    for weight, expected in one.weights.items():
        # Rounding may flip the sign of a gradient near zero, which is all that Adam's first update depends on.
        assert torch.allclose(two.weights[weight], expected, atol=3e-5), weight


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_waiting_responses_return_to_their_processes_from_a_checkpoint(together, strategy):
    assert together("vicur, one step off", strategy).steps[0]["bucket/restored"] == 1


@pytest.mark.parametrize("name", CASES)
def test_weights_for_an_engine_are_gathered_in_bounded_buckets(together, name):
    sharded, replicated = (together(name, strategy).steps[0] for strategy in ("fsdp", "ddp"))
    assert sharded["bucket/equal"] == replicated["bucket/equal"] == 1
    # Each weight is padded to equal shards of a multiple of 16 bytes.
    assert 0.5 * BUCKET < sharded["bucket/largest"] <= 1.05 * BUCKET
    assert sharded["bucket/count"] > 4
    assert replicated["bucket/count"] == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_in_bfloat16_are_close_to_one_in_float32(together, alone, strategy):
    exact, rounded = alone("vicur, k1, in micro-batches"), together("vicur, bf16", strategy)
    assert rounded.steps[0]["entropy"] == pytest.approx(exact.steps[0]["entropy"], rel=0.02)
    assert rounded.weights.keys() == exact.weights.keys()
    assert {weight.dtype for weight in rounded.weights.values()} == {torch.float32}


def test_bfloat16_makes_nearly_the_same_update(base):
    rows = examples_for(state_for(base, method="sft", rollout={"max_new_tokens": 40}))[:4]
    settings = {"method": "sft", "rollout": {"max_new_tokens": 40}, "learning_rate": 1e-3}
    exact, rounded = (state_for(base, mixed_precision=precision, **settings) for precision in ("none", "bf16"))
    one, other = (training_step(state, rows, 0) for state in (exact, rounded))
    for name in ("loss", "gradient_norm", "entropy"):
        assert other[name] == pytest.approx(one[name], rel=0.02)
        assert other[name] != one[name]
    assert {weight.dtype for weight in rounded.student.parameters()} == {torch.float32}


def test_bf16_stores_frozen_weights_in_bfloat16_and_trained_ones_in_float32(base):
    state = state_for(base, method="vicur", mixed_precision="bf16", trained={"type": "lora", "rank": 4})
    kinds = {(weight.requires_grad, weight.dtype) for weight in state.student.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    assert {weight.dtype for weight in state.teacher.model.parameters()} == {torch.bfloat16}


def test_base_in_bfloat16_is_trained_in_float32(base, tmp_path):
    """In bfloat16, an update of 1e-6 would be rounded to nothing."""
    save_model(load_model(base, dtype=torch.bfloat16), tmp_path / "half", chat_folder=base)
    state = state_for(
        tmp_path / "half", method="sft", learning_rate=1e-6, warmup_steps=0, rollout={"max_new_tokens": 40}
    )
    before = {name: weight.clone() for name, weight in state.student.named_parameters()}
    training_step(state, examples_for(state)[:2], 0)
    moved = [name for name, weight in state.student.named_parameters() if not torch.equal(weight, before[name])]
    assert len(moved) == len(before)


def test_student_trained_in_bf16_is_saved_in_the_type_of_its_base(base, tmp_path):
    save_model(load_model(base, dtype=torch.bfloat16), tmp_path / "half", chat_folder=base)
    for folder, kind in ((tmp_path / "half", torch.bfloat16), (base, torch.float32)):
        state = state_for(folder, method="opsd", mixed_precision="bf16")
        best = state.world.collect(dict(state.student.named_parameters()))
        assert {weight.dtype for weight in final_student(state, best, folder).parameters()} == {kind}


def test_small_updates_are_merged_in_float32(base):
    """All weights of an update are 1e-4, so it adds alpha / rank * rank * 1e-8 to each weight, whose size is about 0.06."""
    state = state_for(base, method="opsd", mixed_precision="bf16", trained={"type": "lora", "rank": 4, "alpha": 400})
    best = {name: torch.full_like(weight, 1e-4) for name, weight in trained_weights(state.student).items()}
    before = load_model(base, dtype=torch.bfloat16).get_submodule("model.language_model.layers.0.mlp.up_proj").weight
    after = final_student(state, best, base).get_submodule("model.language_model.layers.0.mlp.up_proj").weight
    assert torch.allclose(after - before.float(), torch.tensor(4e-6), rtol=0, atol=1e-8)


def test_gradient_checkpointing_gives_the_same_gradients_from_fewer_saved_tensors(base):
    def saved(enabled: bool) -> tuple[int, dict[str, float], dict[str, torch.Tensor]]:
        state = state_for(base, method="vicur", gradient_checkpointing=enabled)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            metrics = training_step(state, examples_for(state)[:4], 0)
        return sum(sizes), metrics, dict(state.student.named_parameters())

    (stored, plain, weights), (stored_again, again, weights_again) = saved(False), saved(True)
    assert stored_again < 0.7 * stored
    assert untimed(again) == pytest.approx(untimed(plain), rel=1e-6)
    for name, weight in weights.items():
        assert torch.allclose(weight, weights_again[name], atol=1e-6), name


def test_gradient_checkpointing_keeps_the_kv_cache_of_rollouts(base, caplog):
    state = state_for(base, method="vicur", gradient_checkpointing=True)
    training_step(state, examples_for(state)[:2], 0)
    assert not any("Caching is incompatible" in record.message for record in caplog.records)
    assert not any(module.training for module in state.student.modules())


def test_gradients_are_freed_after_the_update(base):
    state = state_for(base, method="opsd")
    training_step(state, examples_for(state)[:2], 0)
    assert all(weight.grad is None for weight in state.student.parameters())


@pytest.mark.parametrize(
    ("processes", "problem"),
    [(3, "a batch of 32 prompts cannot be divided equally among 3 processes"), (64, "among 64")],
)
def test_batch_that_cannot_be_divided_equally_is_rejected(processes, problem):
    with pytest.raises(VicurError, match=problem):
        require_equal_shares(TrainConfig(), processes)
    require_equal_shares(TrainConfig(), 4)


def test_one_process_for_each_gpu_and_half_as_many_with_separate_teachers(monkeypatch):
    monkeypatch.setattr(world_module.torch.cuda, "device_count", lambda: 8)
    shared, separate = (
        TrainConfig(distribution={"teacher_devices": kind}).distribution for kind in ("shared", "separate")
    )
    assert (
        local_process_count(shared, "cuda"),
        local_process_count(separate, "cuda"),
        local_process_count(shared, "cpu"),
    ) == (8, 4, 1)
    assert devices_for(1, shared, "cuda") == (torch.device("cuda", 1), torch.device("cuda", 1))
    assert devices_for(1, separate, "cuda") == (torch.device("cuda", 1), torch.device("cuda", 5))


def test_more_processes_than_gpus_are_rejected(monkeypatch):
    monkeypatch.setattr(world_module.torch.cuda, "device_count", lambda: 4)
    config = TrainConfig(distribution={"processes": 4, "teacher_devices": "separate"}).distribution
    with pytest.raises(VicurError, match="4 processes need 8 GPUs, but each machine has 4"):
        local_process_count(config, "cuda")
    with pytest.raises(VicurError, match="teacher_devices is separate, but the machine has no GPUs"):
        local_process_count(config, "cpu")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"method": "vicur", "teacher": {"type": "self-ema"}, "distribution": {"teacher_devices": "separate"}},
            "a self-ema teacher shares the student's weights, so it cannot use separate GPUs",
        ),
        (
            {"method": "grpo", "distribution": {"teacher_devices": "separate"}},
            "no teacher that could use separate GPUs",
        ),
        (
            {"method": "opsd", "batch_size": 32, "distribution": {"processes": 3}},
            "a batch of 32 prompts cannot be divided equally among 3 processes",
        ),
        (
            {
                "method": "vicur",
                "teacher": {"type": "self-adapter-off"},
                "trained": {"type": "lora", "vision": True},
                "distribution": {"strategy": "fsdp"},
            },
            "fsdp shards the vision tower",
        ),
    ],
)
def test_settings_that_cannot_be_distributed_are_rejected(settings, problem):
    with pytest.raises(VicurError, match=problem):
        TrainConfig.model_validate(settings)


@pytest.mark.parametrize("value", [0, -1, 1.5, float("inf"), True, "two", None, "2"])
def test_invalid_number_of_processes_is_rejected(value):
    with pytest.raises(VicurError, match=r"distribution.processes must be a whole number of at least 1, or 'auto'"):
        validated(TrainingConfig, {"distribution": {"processes": value}}, "training")


def test_whole_number_passed_as_a_float_by_kfp_is_accepted():
    assert TrainConfig(distribution={"processes": 2.0}).distribution.processes == 2


def test_settings_of_memory_and_time_are_not_part_of_the_identity():
    plain = TrainConfig()
    distributed = TrainConfig(
        distribution={"processes": 8, "strategy": "fsdp"},
        micro_batch_size=1,
        rollout_batch_size=2,
        gradient_checkpointing=True,
    )
    assert plain.identity() == distributed.identity()
    assert plain.identity() != TrainConfig(mixed_precision="bf16").identity()
    assert plain.identity() != TrainConfig(learning_rate=1e-5).identity()


def test_rank_takes_every_nth_row_and_only_rank_0_collects():
    second = World(torch.device("cpu"), torch.device("cpu"), rank=1, size=3)
    assert second.shard(list(range(8))) == [1, 4, 7]
    assert second.collect({"weight": torch.ones(2)}) == {}
    assert SINGLE.shard([1, 2]) == [1, 2]
    copy = SINGLE.collect({"weight": (weight := torch.ones(2))})
    weight.zero_()
    assert copy["weight"].tolist() == [1, 1]
