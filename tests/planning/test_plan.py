"""A plan determines whether a run fits, and its suggestions save what they claim."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vicur.config.loading import load_config
from vicur.errors import VicurError
from vicur.planning import Plan, PlanInput, make_plan, plan_input, plan_record, show_plan
from vicur.planning.from_config import setting
from vicur.planning.memory import evaluation_memory, student_memory
from vicur.planning.model import Models, models_of
from vicur.planning.parts import Memory, Part, Phase, peak
from vicur.planning.suggest import way_to_fit

CONFIGS = Path(__file__).parents[2] / "configs"
GIB = 2**30
# Nothing saves memory: everything is replicated on each GPU in float32, and all activations are saved.
WASTEFUL = {"strategy": "ddp", "mixed_precision": "none", "gradient_checkpointing": False}


def plan_for(size: str, gpus: int = 8, **assumed: Any) -> PlanInput:
    return plan_input(load_config(CONFIGS / f"qwen3-vl-{size}.yaml"), "vicur", assumed={"gpus": gpus, **assumed})


@pytest.fixture(scope="module")
def too_large() -> Plan:
    return make_plan(plan_for("8b", **WASTEFUL))


@pytest.fixture(scope="module")
def fitting() -> Plan:
    return make_plan(plan_for("8b", examples=55 * 128))


def peak_bytes(plan: PlanInput) -> int:
    return peak(student_memory(plan, models_of(plan)))[1]


def test_the_8b_configuration_fits_on_8_gpus_of_80_gib_but_not_without_its_savings(
    too_large: Plan, fitting: Plan
) -> None:
    assert not too_large.fits
    assert fitting.fits
    assert (fitting.suggestions, fitting.way_to_fit) == ((), ())
    assert fitting.limit == int(72 * GIB)


def test_each_suggestion_saves_what_it_claims(too_large: Plan) -> None:
    before = peak_bytes(too_large.input)
    assert too_large.suggestions
    for suggestion in too_large.suggestions:
        changed = suggestion.change.apply(too_large.input)
        assert changed is not None
        assert before - peak_bytes(changed) == suggestion.saves > 0
        assert suggestion.fits == (peak_bytes(changed) <= too_large.limit)


def test_suggestions_that_change_the_student_come_last(too_large: Plan) -> None:
    altering = [suggestion.change.alters for suggestion in too_large.suggestions]
    assert altering == sorted(altering)
    assert {s.change.field for s in too_large.suggestions if s.change.alters} == {
        "trained",
        "train_vision",
        "max_response_tokens",
    }


@pytest.mark.parametrize("size", ["2b", "8b", "32b"])
def test_the_way_to_fit_fits_and_is_minimal(size: str) -> None:
    plan = make_plan(plan_for(size, **WASTEFUL))
    assert plan.way_to_fit
    assert not any(change.alters for change in plan.way_to_fit)

    def with_all_but(omitted: object) -> PlanInput:
        changed = plan.input
        for change in plan.way_to_fit or ():
            changed = changed if change is omitted else change.apply(changed) or changed
        return changed

    assert peak_bytes(with_all_but(None)) <= plan.limit
    for change in plan.way_to_fit:
        assert peak_bytes(with_all_but(change)) > plan.limit, change.field


def test_no_way_to_fit_is_suggested_if_there_is_none() -> None:
    plan = make_plan(plan_for("32b", gpus=1, hardware={"gpu_memory": 1}))
    assert not plan.fits
    assert plan.way_to_fit is None
    assert "No combination" in shown(plan)


def test_tokens_hours_and_epochs_cover_the_whole_run(fitting: Plan) -> None:
    assert fitting.epochs == 5
    assert fitting.longest.response_tokens == 275 * 128 * 4096
    assert fitting.longest.prompt_tokens == 275 * 128 * 2048
    assert fitting.expected.gpu_hours == pytest.approx(8 * fitting.expected.hours)
    assert fitting.expected.hours < fitting.longest.hours


def test_gpu_hours_include_the_gpus_of_the_teacher() -> None:
    plan = make_plan(plan_for("2b", gpus=4, teacher_gpus=4))
    assert plan.expected.gpu_hours == pytest.approx(8 * plan.expected.hours)
    assert "GPUs of the teacher" in shown(plan)


SERVERS = [
    "training.rollout.placement=job",
    "training.rollout.engine.replicas=2",
    "training.rollout.engine.tensor_parallel=2",
    "training.teacher={type: self-frozen, placement: job}",
]
"""Two rollout servers of two GPUs, and a teacher's server of one."""


def test_servers_that_start_with_the_training_count_as_gpus() -> None:
    config = load_config(CONFIGS / "qwen3-vl-2b.yaml", SERVERS)
    plan = make_plan(plan_input(config, "vicur", assumed={"gpus": 8}))
    assert plan.input.server_gpus == {"rollout": 4, "teacher": 1}
    assert plan.expected.gpu_hours == pytest.approx(13 * plan.expected.hours)
    assert plan_record(plan)["gpus"] == {"training": 8, "rollout": 4, "teacher": 1}
    assert "The training needs 13 GPUs: 8 of its processes, 4 of rollout servers and 1 of teacher servers." in shown(
        plan
    )
    assert "not planned for" not in shown(plan)
    weights = [plan.server_memories[part] for part in ("rollout", "teacher")]
    # Two GPUs share the weights of a rollout server, in bfloat16.
    assert weights[0][Phase.ROLLOUT][Part.WEIGHTS] == plan.models.sizes.total
    assert plan.models.teacher_sizes is not None
    assert weights[1][Phase.TEACHER][Part.WEIGHTS] == 2 * plan.models.teacher_sizes.total
    # Keys and values of a longest sequence: 28 layers, 4 of 8 heads of 128 values.
    assert weights[0][Phase.ROLLOUT][Part.KV_CACHE] == 2 * 28 * 4 * 128 * (2048 + 4096) * 2


def test_servers_that_do_not_fit_get_more_gpus() -> None:
    plan = plan_for("2b", rollout_engine="server", rollout_servers=2)
    (change,) = way_to_fit(plan, lambda changed: 100 // changed.rollout_tensor_parallel, 30) or ()
    assert (change.field, change.value) == ("rollout_tensor_parallel", 4)
    assert setting(change.field, change.value) == "--set training.rollout.engine.tensor_parallel=4"


def test_servers_need_an_engine_that_is_a_server() -> None:
    with pytest.raises(VicurError, match="rollout_servers is 1, but rollout_engine is 'process'"):
        plan_for("2b", rollout_servers=1)


def shown(plan: Plan) -> str:
    out = io.StringIO()
    show_plan(plan, Console(file=out, width=140))
    return out.getvalue()


def test_the_tables_show_every_part_and_the_assumptions(too_large: Plan) -> None:
    text = shown(too_large)
    for words in ("weights", "gradients", "optimizer", "teacher", "activations", "vision tower", "image features"):
        assert words in text
    for words in ("KV cache", "logits and loss tiles", "10% left free", "of the evaluation"):
        assert words in text
    for phase in Phase:
        assert phase in text
    assert "The run does not fit." in text
    assert "--set training.distribution.strategy=fsdp" in text
    assert "/models/Qwen3-VL-8B-Instruct does not exist on this machine" in text


def test_the_record_is_json_and_complete(too_large: Plan) -> None:
    record = json.loads(json.dumps(plan_record(too_large)))
    assert record["fits"] is False
    update = record["memory_bytes"]["student"]["update"]
    assert sum(update.values()) == record["peak"]["student"]["bytes"]
    assert record["student"]["recovery"] == 469_770_240
    assert record["expected"]["work"].keys() == {"vision", "rollout", "teacher", "forward", "backward", "loss"}
    assert record["suggestions"][0]["saves_bytes"] > 0
    assert PlanInput.model_validate(record["input"]) == too_large.input


def test_times_are_shown_only_if_they_were_calibrated() -> None:
    measured = {"calibrated_on": "NVIDIA H200", "utilisation": 0.31, "decode_overhead_ms": 27.5}
    calibrated, other = make_plan(plan_for("2b", hardware=measured)), make_plan(plan_for("2b"))
    text = shown(calibrated)
    for words in ("GPU-hours", "measured on NVIDIA H200", "31% of 989 TFLOPS", "27.5 ms per decoding step"):
        assert words in text
    assert plan_record(calibrated)["expected"]["hours"] > 0
    assert "hours" not in shown(other).replace("GPU-hours", "hours")
    assert "vicur gpu-check" in shown(other)
    assert plan_record(other)["expected"]["hours"] is None


def test_separate_teacher_devices_split_the_gpus_in_halves() -> None:
    config = load_config(CONFIGS / "qwen3-vl-8b.yaml", ["training.distribution.teacher_devices=separate"])
    plan = plan_input(config, "vicur", assumed={"gpus": 8})
    assert (plan.gpus, plan.teacher_gpus) == (4, 4)
    made = make_plan(plan)
    # Four GPUs hold the student's shards instead of eight, with which a GPU needs 55 GiB.
    assert sum(made.student_memory[Phase.ROLLOUT].values()) / GIB == pytest.approx(84.0, abs=0.1)
    assert not made.fits
    assert set(made.memories) == {"student", "teacher", "evaluation"}
    with pytest.raises(VicurError, match="needs an even number of GPUs, but there are 3"):
        plan_input(config, "vicur", assumed={"gpus": 3})


@pytest.mark.parametrize("size", ["2b", "4b", "8b"])
def test_the_shipped_configurations_fit_on_8_gpus_of_80_gib_in_all_phases(size: str) -> None:
    plan = make_plan(plan_for(size))
    assert plan.fits
    assert set(plan.student_memory) == set(Phase) - {Phase.EVALUATION}
    # The configured batch of the evaluation fits as it is.
    assert plan.evaluation_rows == plan.input.evaluation_batch_size


def test_a_validation_answers_fewer_questions_at_once_if_the_batch_does_not_fit() -> None:
    small = make_plan(plan_for("8b", validation_batch_size=4))
    large = make_plan(plan_for("8b", validation_batch_size=128))
    assert small.validation_rows == 4
    assert 4 < large.validation_rows < 38  # the share of a GPU of 300 questions
    assert sum(large.student_memory[Phase.VALIDATION].values()) <= large.limit
    assert make_plan(plan_for("8b", validation_batch_size=128, device="cpu")).validation_rows == 38


@pytest.mark.parametrize(("size", "gib"), [("2b", 85), ("32b", 193)])
def test_the_cache_of_128_questions_is_what_the_evaluation_would_need(size: str, gib: int) -> None:
    plan = plan_for(size, evaluation_batch_size=128, device="cpu")
    cache = evaluation_memory(plan, models_of(plan))[Phase.EVALUATION][Part.KV_CACHE]
    assert cache / GIB == pytest.approx(gib, abs=1)
    on_gpu = make_plan(plan_for(size, evaluation_batch_size=128))
    assert on_gpu.evaluation_rows < 128
    assert sum(on_gpu.evaluation_memory[Phase.EVALUATION].values()) <= on_gpu.limit


def inside(*settings: str, gpus: int = 1) -> tuple[Memory, Models]:
    """Return the memory of a GPU with vLLM in the process, and the models."""
    engine = ", ".join(("type: vllm, cache_gb: 3", *settings))
    plan = plan_input(load_config(None, [f"training.rollout.engine={{{engine}}}"]), "vicur", assumed={"gpus": gpus})
    models = models_of(plan)
    return student_memory(plan, models), models


def test_vllm_in_the_process_takes_a_copy_of_the_weights_and_its_cache() -> None:
    plain = plan_input(load_config(None), "vicur")
    without = student_memory(plain, models_of(plain))
    memory, models = inside("sleep: false")
    for phase in (Phase.ROLLOUT, Phase.UPDATE, Phase.VALIDATION):
        assert memory[phase][Part.VLLM] > 3e9 + 4 * models.sizes.total
    assert Part.VLLM not in without[Phase.UPDATE]
    # vLLM has the cache of the rollouts, the training process none.
    assert Part.KV_CACHE in without[Phase.ROLLOUT]
    assert Part.KV_CACHE not in memory[Phase.ROLLOUT]


def test_a_sleeping_vllm_takes_no_memory_in_the_update() -> None:
    awake, _ = inside("sleep: false")
    memory, _ = inside()
    for phase in (Phase.ROLLOUT, Phase.VALIDATION):
        assert memory[phase] == awake[phase]
    for phase in (Phase.UPDATE, Phase.OPTIMIZER):
        assert Part.VLLM not in memory[phase]
        assert {part: size for part, size in awake[phase].items() if part != Part.VLLM} == memory[phase]


def test_tensor_parallelism_divides_the_weights_of_vllm() -> None:
    one, models = inside(gpus=4)
    two, _ = inside("tensor_parallel: 2", gpus=4)
    saved = one[Phase.ROLLOUT][Part.VLLM] - two[Phase.ROLLOUT][Part.VLLM]
    assert saved > 4 * models.sizes.total / 2


def test_a_server_takes_no_memory_of_the_training() -> None:
    server = "{type: vllm, url: 'http://gpu:8000'}"
    config = load_config(
        None,
        [
            f"training.rollout={{placement: url, engine: {server}}}",
            "training.teacher.type=self-frozen",
            "training.teacher.placement=job",
            "training.objective=k1",
        ],
    )
    plan = plan_input(config, "vicur")
    memory = student_memory(plan, models_of(plan))
    assert Phase.TEACHER not in memory
    assert not {Part.VLLM, Part.TEACHER} & set(memory[Phase.UPDATE])
    assert "vLLM server are not planned for" in shown(make_plan(plan))


def test_a_plan_says_whether_sampling_ahead_saves_time() -> None:
    server = "{placement: url, engine: {url: 'http://gpu:8000'}}"
    stale = ["training.staleness=1", "training.objective=k1"]
    served = plan_input(load_config(None, [*stale, f"training.rollout={server}"]), "vicur")
    assert "it takes the longer time of both" in shown(make_plan(served))
    own = plan_input(load_config(None, stale), "vicur")
    assert "Staleness 1 saves no time here" in shown(make_plan(own))
    # The images of the step are encoded after the rollouts, whose memory thus has no graph of the tower.
    fresh = own.model_copy(update={"staleness": 0})
    one, other = (student_memory(each, models_of(each))[Phase.ROLLOUT] for each in (own, fresh))
    assert one[Part.VISION] < other[Part.VISION]
    assert {**one, Part.VISION: 0} == {**other, Part.VISION: 0}


def test_a_frozen_backbone_needs_most_memory_while_it_is_loaded_in_float32() -> None:
    plan = plan_for("8b", gpus=1, strategy="ddp", trained="lora", teacher="adapter_off", train_vision=False)
    models = models_of(plan)
    memory = student_memory(plan, models)
    assert memory[Phase.LOAD][Part.WEIGHTS] == 4 * models.sizes.total
    assert memory[Phase.LOAD][Part.WEIGHTS] > 1.8 * memory[Phase.UPDATE][Part.WEIGHTS]
    # Sharded models are loaded to the CPU.
    sharded = plan_for("8b", trained="lora", teacher="adapter_off", train_vision=False)
    assert student_memory(sharded, models)[Phase.LOAD] == {
        Part.WEIGHTS: student_memory(sharded, models)[Phase.UPDATE][Part.WEIGHTS]
    }


def test_the_peak_is_the_highest_phase_of_any_gpu(fitting: Plan) -> None:
    kind, phase, size = fitting.peak
    assert size == max(sum(p.values()) for m in fitting.memories.values() for p in m.values())
    assert f"in the phase {phase} (GPU of the {kind})" in shown(fitting)
    assert plan_record(fitting)["highest"] == {"gpu": kind, "phase": phase, "bytes": size}
