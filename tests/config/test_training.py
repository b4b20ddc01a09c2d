"""Methods and the settings beside them: what a name stands for, how an override replaces it, and what is refused with its remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vicur.config.loading import load_config
from vicur.config.methods import METHODS, method_named
from vicur.config.teacher import OtherCheckpoint
from vicur.config.training import TrainConfig, TrainingConfig
from vicur.config.validation import validated
from vicur.data.sources import stage_inputs
from vicur.errors import VicurError

TEACHER = {"type": "checkpoint", "path": "teacher"}
SERVER = {"type": "vllm", "placement": "server", "url": "http://127.0.0.1:8000"}


def config(method: str, **settings: Any) -> TrainConfig:
    return TrainConfig.model_validate({"method": method, **settings})


def test_the_names_stand_for_the_rows_of_the_paper() -> None:
    rows = {name: method_named(name) for name in METHODS}
    assert {
        name: (row.privilege, row.teacher.type, row.recovery, row.objective.type) for name, row in rows.items()
    } == {
        "opsd": ("answer", "self-frozen", False, "k1"),
        "opsd-cue": ("cue", "self-frozen", False, "k1"),
        "opsd-recovery": ("answer", "self-frozen", True, "k1"),
        "vicur": ("cue", "self-frozen", True, "k1"),
        "opd": ("none", "checkpoint", False, "k1"),
        "opd-vicur": ("cue", "checkpoint", True, "k1"),
        "grpo": ("none", "none", False, "grpo"),
        "sft": ("none", "none", False, "supervised"),
    }
    assert config("grpo").responses_per_prompt == 5


def test_what_is_set_replaces_the_method_s_own_and_the_rest_stays() -> None:
    changed = config("vicur", privilege="rationale", recovery={"enabled": False, "interval": 3})
    assert changed.effective == method_named("opsd").model_copy(update={"privilege": "rationale"})
    assert changed.recovery.module.model_dump() == {"interval": 3, "sink": "first", "num_heads": None}
    assert config("opsd", teacher={"type": "self-ema"}).effective.teacher.model_dump() == {
        "type": "self-ema",
        "decay": 0.999,
    }
    # A name and its settings written out are the same training.
    written = {**method_named("vicur").model_dump(exclude={"recovery"}), "recovery": {"enabled": True, "interval": 2}}
    assert config("opsd", **written).effective == config("vicur").effective


@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith("opd")])
def test_a_training_with_nothing_left_out_is_the_same_training(method: str) -> None:
    filled = config(method).filled_in()
    assert None not in (filled.privilege, filled.teacher, filled.objective, filled.recovery.enabled)
    assert TrainConfig.model_validate(filled.model_dump()).effective == config(method).effective


@pytest.mark.parametrize(
    ("method", "settings", "where", "words"),
    [
        ("opd", {}, "teacher", "none is named. Set training.teacher to {type: checkpoint, path: FOLDER}"),
        ("opd-vicur", {}, "teacher", "none is named"),
        ("vicur", {"teacher": {"type": "none"}}, "objective", "a distance to a teacher, and there is none"),
        ("grpo", {"teacher": TEACHER}, "teacher", "grpo learns from rewards, and has no use for the teacher checkpoint"),
        ("grpo", {"privilege": "cue"}, "privilege", "has no use for the privilege cue. Leave training.privilege out"),
        ("sft", {"teacher": {"type": "self-ema"}}, "teacher", "learns from reference responses"),
        ("sft", {"privilege": "answer"}, "privilege", "learns from reference responses"),
        ("sft", {"rollout": {"temperature": 0.7}}, "rollout.temperature", "draws no rollouts. Leave it out"),
        ("sft", {"updates_per_batch": 2}, "updates_per_batch", "the objective supervised has not. Set it to 1"),
        ("grpo", {"objective": {"type": "forward_kl"}}, "objective", "forward_kl is a distance to a teacher"),
        ("vicur", {"objective": {"type": "grpo"}}, "teacher", "grpo learns from rewards"),
        ("vicur", {"objective": {"type": "supervised"}}, "teacher", "learns from reference responses"),
        ("opsd", {"privilege": "none"}, "privilege", "knows what the student knows, and teaches nothing"),
        ("vicur", {"privilege": "none", "teacher": {"type": "self-ema"}}, "privilege", "a self-ema teacher without a hint"),
        ("opsd", {"teacher": {"type": "self-adapter-off"}}, "teacher", "the backbone itself is trained. Set training.trained.type"),
        ("opsd", {"trained": {"type": "recovery"}}, "trained", "the student has none. Set training.recovery.enabled to true"),
        ("vicur", {"trained": {"type": "recovery"}, "recovery": {"enabled": False}}, "trained", "the student has none"),
        ("opsd", {"updates_per_batch": 2, "objective": {"type": "forward_kl"}}, "updates_per_batch", "forward_kl"),
        ("grpo", {"rollout": {"temperature": 0}}, "rollout.temperature", "are all the same"),
        ("sft", {"rollout": {"engine": "vllm"}}, "rollout.engine", "draws no rollouts. Leave it out"),
        ("vicur", {"rollout": {"engine": "vllm"}, "bar_images": True}, "rollout.engine", "a mask that vLLM does not have"),
        (
            "vicur",
            {"teacher": {"type": "self-frozen", "engine": "vllm"}, "objective": {"type": "jsd"}},
            "teacher.engine",
            "the objective jsd needs those of others. Set it to local, or choose k1 or k3",
        ),
        ("vicur", {"rollout": {"engine": "vllm", "temperature": 2.5}}, "rollout.temperature", "vLLM draws at 0 and from 0.01"),
        ("vicur", {"rollout": {"engine": "vllm", "temperature": 0.001}}, "rollout.temperature", "vLLM draws at 0 and from 0.01"),
        ("vicur", {"rollout": {"engine": "vllm", "presence_penalty": -3}}, "rollout.presence_penalty", "from -2 to 2"),
        (
            "vicur",
            {"teacher": {"type": "self-frozen", "engine": SERVER}, "rollout": {"engine": {**SERVER, "url": f"{SERVER['url']}/"}}},
            "teacher.engine",
            "is given the student's weights, and a teacher keeps its own. Start another with vicur rollout-server --teacher",
        ),
        ("vicur", {"rollout": {"importance": "truncated"}}, "rollout.importance", "every ratio is 1"),
        (
            "vicur",
            {"rollout": {"engine": "vllm", "importance": "truncated"}, "objective": {"type": "forward_kl"}},
            "rollout.importance",
            "forward_kl is no policy gradient",
        ),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused_with_the_remedy(
    method: str, settings: dict[str, Any], where: str, words: str
) -> None:
    with pytest.raises(VicurError) as refused:
        config(method, **settings)
    assert refused.value.where == f"training.{where}, method {method}"
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": {"type": "grpo", "group_size": 1}}, "a group needs 2 rollouts or more"),
        ({"objective": {"type": "jsd", "beta": 1}}, "objective.beta"),
        ({"objective": {"type": "topk_forward_kl", "k": 0}}, "objective.k"),
        ({"objective": {"type": "k2"}}, "'k3'"),
        ({"teacher": {"type": "self-ema", "decay": 1}}, "below 1, not 1"),
        ({"teacher": {"type": "bigger"}}, "'self-adapter-off', 'checkpoint', 'none'"),
        ({"trained": {"type": "lora", "rank": 0}}, "trained.rank"),
        (
            {"trained": {"type": "lora", "projections": []}},
            "no projection is named and the vision tower gets no update",
        ),
        ({"trained": {"type": "lora", "projections": ["lm_head"]}}, "'q_proj'"),
        ({"trained": {"type": "recovery", "vision": True}}, "no setting 'trained.vision'"),
        ({"privilege": "solution"}, "one of 'answer', 'rationale', 'cue', 'none', not 'solution'"),
        ({"micro_batch_size": 0}, "micro_batch_size must be a whole number of at least 1, not 0"),
        ({"rollout": {"engine": {"type": "vllm", "placement": "server"}}}, "a server needs its address"),
        ({"rollout": {"engine": {"type": "vllm", "url": "http://127.0.0.1:8000"}}}, "set placement to server"),
        (
            {"rollout": {"engine": {**SERVER, "url": "127.0.0.1:8000"}}},
            "is no address of an API, such as http://127.0.0.1:8000",
        ),
        ({"rollout": {"engine": {**SERVER, "url": "http://127.0.0.1:eight"}}}, "rollout.engine.url is no address"),
        ({"rollout": {"engine": {**SERVER, "url": "http://127.0.0.1:8000/ x"}}}, "rollout.engine.url is no address"),
        (
            {"rollout": {"engine": {**SERVER, "url": "http://me:key@127.0.0.1:8000"}}},
            "a key belongs into the variable VLLM_API_KEY",
        ),
        ({"teacher": {"type": "self-ema", "engine": "vllm"}}, "there is no setting 'teacher.engine'"),
        ({"rollout": {"engine": "sglang"}}, "'transformers', 'vllm'"),
        ({"per_method": {"opds": {}}}, "each name in per_method must be one of"),
        ({"per_method": {"opsd": {"stepz": 1}}}, "there is no setting opsd.stepz. Did you mean 'steps'?"),
        ({"per_method": {"opsd": {"per_method": {}}}}, "there is no setting opsd.per_method."),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(VicurError) as refused:
        validated(TrainingConfig, settings, "run.yaml")
    assert words in str(refused.value)


def test_a_run_is_refused_as_soon_as_it_is_read_where_one_of_its_methods_cannot_be_trained(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("methods: [vicur, opd]\n")
    with pytest.raises(VicurError, match="method opd: the teacher is another checkpoint, and none is named"):
        load_config(file)
    found = load_config(file, ["training.per_method.opd.teacher={type: checkpoint, path: teacher}"])
    assert found.training.for_method("opd").effective.teacher == OtherCheckpoint(path=Path("teacher"))
    assert found.training.for_method("vicur").effective.teacher.type == "self-frozen"


def test_a_setting_that_one_method_of_a_run_cannot_take_is_set_for_the_others_alone() -> None:
    with pytest.raises(VicurError, match=r"method sft: .* set it in training\.per_method"):
        load_config(None, ["methods=[opsd, sft]", "training.objective.type=forward_kl"])
    found = load_config(None, ["methods=[opsd, sft]", "training.per_method.opsd.objective.type=forward_kl"])
    kinds = [found.training.for_method(name).effective.objective.type for name in found.methods]
    assert kinds == ["forward_kl", "supervised"]


def test_another_checkpoint_is_an_input_of_the_training() -> None:
    assert stage_inputs(config("opd", teacher=TEACHER)) == {"teacher": Path("teacher")}
    assert stage_inputs(config("vicur")) == stage_inputs(config("grpo")) == {}


def test_what_an_engine_takes_of_memory_and_where_it_is_does_not_make_another_training() -> None:
    def identity(**engine: Any) -> dict[str, Any]:
        return config("vicur", rollout={"engine": {"type": "vllm", **engine}}).identity()

    assert identity() == identity(cache_gb=1) != config("vicur").identity()
    server = {"placement": "server", "url": "http://127.0.0.1:8000"}
    assert identity(**server) == identity(**{**server, "url": "http://10.0.0.7:9000"})
    assert config("vicur", rollout={"engine": "vllm"}).rollout.engine.type == "vllm"
