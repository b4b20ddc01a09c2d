"""A form over a preset becomes the configuration of a run, or is refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from vicur.cluster.request import Request, resolved
from vicur.config.run import RunConfig
from vicur.config.validation import validated
from vicur.errors import VicurError

PRESET: dict[str, Any] = RunConfig(methods=("vicur",), seed=3).model_dump(mode="json", exclude_none=True)


def asked(**form: Any) -> RunConfig:
    return resolved(PRESET, validated(Request, form, "the run's parameters"))


def test_an_empty_form_is_the_preset() -> None:
    assert asked() == RunConfig.model_validate(PRESET)


def test_each_field_sets_its_setting() -> None:
    config = asked(
        student="/models/8B",
        teacher="/models/32B",
        methods=["opd-vicur", "grpo"],
        dataset="/data/mine",
        cue_provider="annotation",
        benchmarks=["test"],
        gpu_type="amd.com/gpu",
        gpu_count=8,
        nodes=2,
        node_selector={"pool": "h100"},
        tolerations=[{"key": "gpu", "effect": "NoExecute"}],
        image="registry.example.com/vicur:1",
        registered_model="mine",
        gate_margin=0.05,
        seed=7,
    )
    assert config.base.path == "/models/8B"
    assert str(config.training.for_method("opd-vicur").effective.teacher.folder) == "/models/32B"
    assert config.methods == ("opd-vicur", "grpo")
    assert (config.data.type, str(config.data.path)) == ("folder", "/data/mine")
    assert config.cues.provider.type == "annotation"
    assert config.evaluation.splits == ("test",)
    pool = config.cluster
    assert (pool.gpu_type, pool.gpu_count, pool.nodes, pool.image) == (
        "amd.com/gpu",
        8,
        2,
        "registry.example.com/vicur:1",
    )
    assert pool.node_selector == {"pool": "h100"}
    assert [(taint.key, taint.effect) for taint in pool.tolerations] == [("gpu", "NoExecute")]
    assert (config.registry.model, config.registry.gate.margin, config.seed) == ("mine", 0.05, 7)


@pytest.mark.parametrize(
    ("dataset", "section"),
    [
        (f"{'a' * 32}.dir@s3://bucket/dvc", {"type": "pinned", "hash": f"{'a' * 32}.dir", "remote": "s3://bucket/dvc"}),
        ("s3://bucket/folder", {"type": "remote", "uri": "s3://bucket/folder"}),
        ("digit-scenes", {"type": "digit_scenes"}),
    ],
)
def test_a_dataset_is_named_by_hash_or_address(dataset: str, section: dict[str, str]) -> None:
    data = asked(dataset=dataset).data.model_dump(mode="json")
    assert {name: data[name] for name in section} == section


def test_a_provider_that_asks_a_model_gets_its_endpoint() -> None:
    model = {"cues.provider.model": "qwen"}
    config = asked(cue_provider="endpoint", cue_endpoint="http://cue-model:8000/v1", overrides=model)
    assert config.cues.provider.model_dump(include={"type", "url", "model"}) == {
        "type": "endpoint",
        "url": "http://cue-model:8000/v1",
        "model": "qwen",
    }


def test_whole_numbers_that_arrive_as_floats_are_whole_numbers() -> None:
    assert asked(gpu_count=4.0, overrides={"training.steps": 50.0}).training.steps == 50


def test_an_empty_selector_and_no_taints_are_an_answer() -> None:
    pool = asked(node_selector={}, tolerations=[]).cluster
    assert (pool.node_selector, pool.tolerations) == ({}, ())


def test_an_override_wins_over_the_form() -> None:
    config = asked(seed=1, overrides={"seed": 2, "training.recovery.interval": 5, "evaluation.decoding.type": "paper"})
    assert (config.seed, config.training.recovery.interval, config.evaluation.decoding.type) == (2, 5, "paper")


def test_overrides_mean_the_same_in_any_order() -> None:
    """Kubeflow Pipelines hands a mapping on in an order of its own."""
    whole = {"cues.provider": {"type": "annotation"}, "evaluation.decoding.sampling.temperature": 0.5}
    asked_for = {
        **whole,
        "cues.provider.type": "endpoint",
        "cues.provider.url": "http://cue-model:8000/v1",
        "cues.provider.model": "qwen",
        "evaluation.decoding.type": "sampled",
    }
    for names in (sorted(asked_for), sorted(asked_for, reverse=True)):
        config = asked(overrides={name: asked_for[name] for name in names})
        assert config.cues.provider.model_dump(include={"type", "model"}) == {"type": "endpoint", "model": "qwen"}
        assert config.evaluation.decoding.sampling.temperature == 0.5


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"methods": ["vicar"]}, "vicar"),
        ({"overrides": {"training.stepz": 5}}, "there is no setting 'training.stepz'"),
        ({"overrides": {"training..steps": 5}}, "is no setting"),
        ({"overrides": {"seed.deep": 5}}, "seed is a single value and has no setting"),
        ({"overrides": {"tracking.experiment": "x"}}, "is fixed when the package is compiled"),
        ({"node_selector": {"gpu": "NVIDIA H100"}}, "cluster.node_selector.gpu"),
        ({"node_selector": {"": "h100"}}, "cluster.node_selector"),
        ({"overrides": {"training": {"steps": 5}}}, "write training.steps"),
        ({"overrides": {"checkpoints": "gs://bucket/runs"}}, "neither a folder nor an S3 address"),
        ({"gpu_count": 0}, "0 GPUs are asked for, and the package has steps that ask for GPUs"),
        ({"overrides": {"cluster.retries": 5}}, "is fixed when the package is compiled"),
        ({"overrides": {"cluster.secrets.storage": "mine"}}, "is fixed when the package is compiled"),
        ({"overrides": {"cluster": {"nodes": 2}}}, "is fixed when the package is compiled"),
        ({"overrides": {"cluster.namespace": "team-a"}}, "is fixed when the package is compiled"),
        ({"overrides": {"cluster.jobs.priority": "urgent"}}, "is fixed when the package is compiled"),
        ({"overrides": {"name": "mine"}}, "is fixed when the package is compiled"),
        ({"gpu_type": ""}, "gpu_type is empty, and pods have it from the form"),
        ({"image": ""}, "image is empty"),
        ({"overrides": {"cluster.node_selector": {}}}, "has a field of its own: fill in node_selector"),
        ({"node_selector": {"pool": "x" * 64}}, r"cluster.node_selector.pool"),
        ({"gpu_count": 99}, "cluster.gpu_count"),
        ({"methods": ["opd"]}, "teacher"),
        ({"tolerations": [{"operator": "Exists", "value": "x"}]}, "takes no value"),
        ({"student": "hf://org/model@main"}, "is an address, and steps read base weights from a folder"),
        ({"gate_margin": 2.0}, "registry.gate.margin"),
        ({"benchmarks": ["validation"]}, "test"),
        ({"cue_provider": "oracle"}, "oracle"),
        ({"cue_provider": "endpoint", "cue_endpoint": "http://h/v1"}, "cues.provider.model is missing"),
        ({"cue_endpoint": "http://h/v1"}, "there is no setting 'cues.provider.url'"),
    ],
)
def test_what_is_wrong_is_named(form: dict[str, Any], says: str) -> None:
    with pytest.raises(VicurError) as error:
        asked(**form)
    assert says in str(error.value)


def test_a_package_without_gpus_gets_none_by_a_form() -> None:
    preset = {**PRESET, "cluster": {"gpu_count": 0}}
    with pytest.raises(VicurError, match="8 GPUs are asked for, and the package has no step that asks for GPUs"):
        resolved(preset, Request(gpu_count=8))
    assert resolved(preset, Request(gpu_count=0)).cluster.gpu_count == 0


def test_a_package_for_several_nodes_does_not_train_on_one_without_an_end_and_past_the_queue() -> None:
    preset = {**PRESET, "cluster": {"nodes": 2, "queue": "gpus"}}
    with pytest.raises(
        VicurError, match=r"nodes: one node is asked for, and the package is for several.*cluster\.nodes=1"
    ):
        resolved(preset, Request(nodes=1))
    assert resolved(preset, Request(nodes=3)).cluster.nodes == 3


def test_a_queue_is_named_as_a_label_can_be() -> None:
    with pytest.raises(VicurError, match=r"cluster\.queue"):
        validated(RunConfig, {"cluster": {"queue": "q" * 64}}, "it")


@pytest.mark.parametrize("dataset", ["s3://key:hush@bucket/x", "https://user:hush@host/x"])
def test_a_refused_address_keeps_its_secret(dataset: str) -> None:
    with pytest.raises(VicurError) as error:
        asked(dataset=dataset)
    assert "hush" not in str(error.value)


def test_what_is_whole_by_itself_may_be_replaced_whole() -> None:
    config = asked(overrides={"data": {"type": "remote", "uri": "s3://bucket/x"}, "methods": ["opsd"]})
    assert config.data.model_dump(include={"type", "uri"}) == {"type": "remote", "uri": "s3://bucket/x"}
    assert config.methods == ("opsd",)


def test_the_preset_stays_as_it_was() -> None:
    before = RunConfig.model_validate(PRESET)
    asked(overrides={"training.steps": 1}, cue_provider="annotation")
    assert RunConfig.model_validate(PRESET) == before
