"""Methods: the settings of each, how single settings replace them, and errors for settings that contradict each other."""

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
SERVER = {"placement": "url", "engine": {"type": "vllm", "url": "http://127.0.0.1:8000"}}


def at(*urls: str) -> dict[str, Any]:
    """Return settings of rollouts by servers at these addresses."""
    return {"placement": "url", "engine": {"type": "vllm", "url": list(urls)}}


def config(method: str, **settings: Any) -> TrainConfig:
    return TrainConfig.model_validate({"method": method, **settings})


def test_methods_have_the_settings_of_the_papers_rows() -> None:
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


def test_setting_replaces_the_methods_own_and_keeps_the_rest() -> None:
    changed = config("vicur", privilege="rationale", recovery={"enabled": False, "interval": 3})
    assert changed.effective == method_named("opsd").model_copy(update={"privilege": "rationale"})
    assert changed.recovery.module.model_dump() == {"interval": 3, "sink": "first", "num_heads": None}
    assert config("opsd", teacher={"type": "self-ema"}).effective.teacher.model_dump() == {
        "type": "self-ema",
        "decay": 0.999,
    }
    # A method's name and its settings written out are equivalent.
    explicit = {**method_named("vicur").model_dump(exclude={"recovery"}), "recovery": {"enabled": True, "interval": 2}}
    assert config("opsd", **explicit).effective == config("vicur").effective


@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith("opd")])
def test_filled_in_training_is_equivalent(method: str) -> None:
    filled = config(method).filled_in()
    assert None not in (filled.privilege, filled.teacher, filled.objective, filled.recovery.enabled)
    assert TrainConfig.model_validate(filled.model_dump()).effective == config(method).effective


@pytest.mark.parametrize(
    ("method", "settings", "where", "words"),
    [
        ("opd", {}, "teacher", "its folder is not set. Set training.teacher to {type: checkpoint, path: FOLDER}"),
        ("opd-vicur", {}, "teacher", "its folder is not set"),
        ("vicur", {"teacher": {"type": "none"}}, "objective", "k1 compares the student with a teacher, but the method has no teacher"),
        ("grpo", {"teacher": TEACHER}, "teacher", "grpo learns from rewards, so it cannot use the teacher checkpoint"),
        ("grpo", {"privilege": "cue"}, "privilege", "cannot use the privilege cue. Remove training.privilege: training.privilege=null"),
        ("sft", {"teacher": {"type": "self-ema"}}, "teacher", "learns from reference responses"),
        ("sft", {"privilege": "answer"}, "privilege", "learns from reference responses"),
        ("sft", {"rollout": {"temperature": 0.7}}, "rollout.temperature", "has no rollouts. Remove it"),
        ("sft", {"updates_per_batch": 2}, "updates_per_batch", "ratio, which the objective supervised does not have. Set it to 1"),
        ("grpo", {"objective": {"type": "forward_kl"}}, "objective", "forward_kl compares the student with a teacher"),
        ("vicur", {"objective": {"type": "grpo"}}, "teacher", "grpo learns from rewards"),
        ("vicur", {"objective": {"type": "supervised"}}, "teacher", "learns from reference responses"),
        ("opsd", {"privilege": "none"}, "privilege", "knows nothing that the student does not know"),
        ("vicur", {"privilege": "none", "teacher": {"type": "self-ema"}}, "privilege", "a self-ema teacher without a hint"),
        ("opsd", {"teacher": {"type": "self-adapter-off"}}, "teacher", "changes the backbone. Set training.trained.type"),
        ("opsd", {"trained": {"type": "recovery"}}, "trained", "the student has no such module. Set training.recovery.enabled to true"),
        ("vicur", {"trained": {"type": "recovery"}, "recovery": {"enabled": False}}, "trained", "the student has no such module"),
        ("opsd", {"updates_per_batch": 2, "objective": {"type": "forward_kl"}}, "updates_per_batch", "forward_kl"),
        ("grpo", {"rollout": {"temperature": 0}}, "rollout.temperature", "all rollouts of a prompt are equal"),
        ("sft", {"rollout": {"engine": "vllm"}}, "rollout.engine", "has no rollouts. Remove it"),
        ("vicur", {"rollout": {"engine": "vllm"}, "bar_images": True}, "rollout.engine", "an attention mask that vLLM does not support"),
        (
            "vicur",
            {"teacher": {"type": "self-frozen", "engine": "vllm"}, "objective": {"type": "jsd"}},
            "teacher.engine",
            "jsd needs those of other tokens. Set training.teacher.engine to local, or choose the objective k1, k2, k3, abs or mse.",
        ),
        ("vicur", {"rollout": {"engine": "vllm", "temperature": 2.5}}, "rollout.temperature", "is 2.5, but vLLM supports 0 and 0.01 to 2"),
        ("vicur", {"rollout": {"engine": "vllm", "temperature": 0.001}}, "rollout.temperature", "is 0.001, but vLLM supports 0 and 0.01"),
        ("vicur", {"rollout": {"engine": "vllm", "presence_penalty": -3}}, "rollout.presence_penalty", "is -3, but vLLM supports -2 to 2"),
        (
            "vicur",
            {"teacher": {"type": "self-frozen", **SERVER}, "rollout": at("http://127.0.0.1:8000/")},
            "teacher.engine",
            "it can hold the weights of one of them only. Start a second server with vicur rollout-server --teacher",
        ),
        ("vicur", {"rollout": {"importance": "truncated"}}, "rollout.importance", "every importance ratio is 1"),
        (
            "vicur",
            {"rollout": {"engine": "vllm", "importance": "truncated"}, "objective": {"type": "forward_kl"}},
            "rollout.importance",
            "forward_kl compares distributions: its terms do not depend on which token was sampled. Remove it, or choose the objective k1",
        ),
        (
            "vicur",
            {"staleness": 1, "rollout": {"importance": "truncated"}, "objective": {"type": "forward_kl"}},
            "rollout.importance",
            "forward_kl compares distributions",
        ),
        ("sft", {"staleness": 1}, "staleness", "has no rollouts that could be sampled ahead. Remove it"),
    ],
)  # fmt: skip
def test_contradicting_settings_raise_with_a_remedy(
    method: str, settings: dict[str, Any], where: str, words: str
) -> None:
    with pytest.raises(VicurError) as refused:
        config(method, **settings)
    assert refused.value.where == f"training.{where}, method {method}"
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": {"type": "grpo", "group_size": 1}}, "objective.group_size must be at least 2"),
        ({"objective": {"type": "jsd", "beta": 1}}, "objective.beta"),
        ({"objective": {"type": "topk_forward_kl", "k": 0}}, "objective.k"),
        ({"objective": {"type": "k4"}}, "'k3'"),
        ({"teacher": {"type": "self-ema", "decay": 1}}, "below 1, not 1"),
        ({"teacher": {"type": "bigger"}}, "'self-adapter-off', 'checkpoint', 'none'"),
        ({"trained": {"type": "lora", "rank": 0}}, "trained.rank"),
        (
            {"trained": {"type": "lora", "projections": []}},
            "projections is empty and vision is false, so nothing would be trained",
        ),
        ({"trained": {"type": "lora", "projections": ["lm_head"]}}, "'q_proj'"),
        ({"trained": {"type": "recovery", "vision": True}}, "no setting 'trained.vision'"),
        ({"privilege": "solution"}, "one of 'answer', 'rationale', 'cue', 'none', not 'solution'"),
        ({"micro_batch_size": 0}, "micro_batch_size must be a whole number of at least 1, not 0"),
        ({"rollout": {"placement": "url"}}, "placement is url, but training.rollout.engine.url is not set"),
        (
            {"rollout": {"engine": {"type": "vllm", "url": "http://127.0.0.1:8000"}}},
            "set training.rollout.placement to url",
        ),
        ({"rollout": {"engine": {"type": "vllm", "placement": "inside"}}}, "set training.rollout.placement to process"),
        (
            {"teacher": {"type": "self-frozen", "engine": {"type": "vllm", "placement": "server"}}},
            "set training.teacher.placement to url",
        ),
        ({"rollout": {"engine": "transformers", "placement": "job"}}, "placement is job, which needs vLLM"),
        ({"rollout": {"engine": {"type": "vllm", "replicas": 2}}}, "placement is process, which has no replicas"),
        ({"rollout": {**at("http://a:1"), "engine": {"url": "http://a:1", "replicas": 2}}}, "list all addresses"),
        (
            {"rollout": {"placement": "url", "engine": {"url": ["http://a:1", "http://a:1/"]}}},
            "contains an address twice",
        ),
        (
            {"rollout": at("127.0.0.1:8000")},
            "is not the address of an API, such as http://127.0.0.1:8000",
        ),
        (
            {"rollout": at("http://127.0.0.1:eight")},
            "rollout.engine.url is not the address",
        ),
        (
            {"rollout": at("http://127.0.0.1:8000/ x")},
            "rollout.engine.url is not the address",
        ),
        (
            {"rollout": at("http://me:key@127.0.0.1:8000")},
            "put an API key into the environment variable VLLM_API_KEY",
        ),
        ({"teacher": {"type": "self-ema", "engine": "vllm"}}, "there is no setting 'teacher.engine'"),
        ({"rollout": {"engine": "sglang"}}, "'transformers', 'vllm'"),
        ({"per_method": {"opds": {}}}, "each name in per_method must be one of"),
        ({"per_method": {"opsd": {"stepz": 1}}}, "there is no setting opsd.stepz. Did you mean 'steps'?"),
        ({"per_method": {"opsd": {"per_method": {}}}}, "there is no setting opsd.per_method."),
    ],
)
def test_invalid_setting_is_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(VicurError) as refused:
        validated(TrainingConfig, settings, "run.yaml")
    assert words in str(refused.value)


def test_run_is_rejected_when_read_if_one_of_its_methods_cannot_be_trained(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("methods: [vicur, opd]\n")
    with pytest.raises(VicurError, match="method opd: the teacher is another checkpoint, but its folder is not set"):
        load_config(file)
    found = load_config(file, ["training.per_method.opd.teacher={type: checkpoint, path: teacher}"])
    assert found.training.for_method("opd").effective.teacher == OtherCheckpoint(path=Path("teacher"))
    assert found.training.for_method("vicur").effective.teacher.type == "self-frozen"


def test_setting_that_one_method_rejects_can_be_set_for_another() -> None:
    with pytest.raises(VicurError, match=r"method sft: .* use training\.per_method"):
        load_config(None, ["methods=[opsd, sft]", "training.objective.type=forward_kl"])
    found = load_config(None, ["methods=[opsd, sft]", "training.per_method.opsd.objective.type=forward_kl"])
    kinds = [found.training.for_method(name).effective.objective.type for name in found.methods]
    assert kinds == ["forward_kl", "supervised"]


def test_teacher_checkpoint_is_an_input_of_the_training() -> None:
    assert stage_inputs(config("opd", teacher=TEACHER)) == {"teacher": Path("teacher")}
    assert stage_inputs(config("vicur")) == stage_inputs(config("grpo")) == {}


def test_resources_and_address_of_an_engine_are_not_part_of_the_identity() -> None:
    def identity(**engine: Any) -> dict[str, Any]:
        return config("vicur", rollout={"engine": {"type": "vllm", **engine}}).identity()

    assert identity() == identity(cache_gb=1) != config("vicur").identity()
    placements = (
        {"placement": "job"},
        {"placement": "job", "engine": {"replicas": 4, "tensor_parallel": 2}},
        at("http://a:1", "http://b:1"),
    )
    assert all(config("vicur", rollout=each).identity() == identity() for each in placements)
    assert config("vicur", rollout={"engine": "vllm"}).rollout.engine.type == "vllm"


def test_placement_alone_chooses_vllm_and_its_servers_count_as_devices() -> None:
    teacher = {"type": "self-frozen", "placement": "job", "engine": {"tensor_parallel": 4}}
    placed = config("vicur", rollout={"placement": "job", "engine": {"replicas": 3}}, teacher=teacher)
    assert {part: engine.placement for part, engine in placed.engines.items()} == {"rollout": "job", "teacher": "job"}
    assert placed.server_devices == 3 + 4
    assert TrainConfig.model_validate(placed.model_dump(mode="json")) == placed
    assert config("vicur", rollout=at("http://a:1")).server_devices == config("vicur").server_devices == 0


def test_staleness_corrects_sampled_tokens_by_default() -> None:
    for settings, correction in (
        ({}, "none"),
        ({"staleness": 1}, "truncated"),
        ({"staleness": 1, "rollout": {"importance": "none"}}, "none"),
        ({"staleness": 1, "objective": {"type": "k3"}}, "truncated"),
        # Their expectation over the next token is exact.
        ({"staleness": 1, "objective": {"type": "forward_kl"}}, "none"),
        ({"staleness": 1, "objective": {"type": "topk_forward_kl"}}, "none"),
    ):
        made = config("vicur", **settings)
        assert made.correction.type == correction
        assert TrainConfig.model_validate(made.model_dump(mode="json")) == made
    # What is shared by an ablation's arms does not fix the correction of one that adds staleness.
    assert config("vicur", **{**TrainingConfig().model_dump(), "staleness": 1}).correction.type == "truncated"
    with pytest.raises(VicurError, match="staleness must be a whole number from 0 to 1, not 2"):
        validated(TrainConfig, {"staleness": 2}, "training")


def test_trainings_on_policy_keep_their_identity() -> None:
    identity = config("vicur").identity()
    assert "staleness" not in identity
    assert "importance" not in identity["rollout"]
    assert config("vicur", staleness=1).identity()["staleness"] == 1
