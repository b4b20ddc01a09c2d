"""A form over a preset resolves to the configuration of a run, or is refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from vicur.cluster.request import FIELD_ALIASES, Request, form_defaults, form_types, resolved
from vicur.config.run import RunConfig
from vicur.config.validation import validated
from vicur.errors import VicurError

PRESET: dict[str, Any] = {"methods": ["vicur"], "seed": 3}


def requested(**form: Any) -> RunConfig:
    return resolved(PRESET, validated(Request, form, "the run's parameters"))


def test_an_empty_form_resolves_to_the_preset() -> None:
    assert requested() == RunConfig.model_validate(PRESET)


def test_each_field_sets_its_setting() -> None:
    config = requested(
        model_student="/models/8B",
        model_teacher="/models/32B",
        train_methods=["opd-vicur", "grpo"],
        data_source="/data/mine",
        cue_provider="annotation",
        data_splits=["test"],
        gpu_type="amd.com/gpu",
        gpu_count=8,
        gpu_nodes=2,
        gpu_node_selector={"pool": "h100"},
        gpu_tolerations=[{"key": "gpu", "effect": "NoExecute"}],
        image="registry.example.com/vicur:1",
        model_registered="mine",
        model_gate_margin=0.05,
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
def test_a_dataset_is_given_by_hash_or_address(dataset: str, section: dict[str, str]) -> None:
    data = requested(data_source=dataset).data.model_dump(mode="json")
    assert {name: data[name] for name in section} == section


def test_the_endpoint_of_the_cue_model_is_set() -> None:
    model = {"cues.provider.model": "qwen"}
    config = requested(cue_provider="endpoint", cue_endpoint="http://cue-model:8000/v1", overrides=model)
    assert config.cues.provider.model_dump(include={"type", "url", "model"}) == {
        "type": "endpoint",
        "url": "http://cue-model:8000/v1",
        "model": "qwen",
    }


def test_a_bare_name_selects_a_section_and_its_settings_follow_in_any_order() -> None:
    overrides = {"training.objective.beta": 0.3, "training.objective": "jsd", "cues.provider": "annotation"}
    config = requested(overrides=overrides)
    assert config.training.objective is not None
    assert config.training.objective.model_dump() == {"type": "jsd", "beta": 0.3}
    assert config.cues.provider.type == "annotation"


def test_whole_numbers_that_kfp_made_floats_are_accepted() -> None:
    assert requested(gpu_count=4.0, overrides={"training.steps": 50.0}).training.steps == 50


def test_an_empty_selector_and_no_tolerations_replace_those_of_the_preset() -> None:
    pool = requested(gpu_node_selector={}, gpu_tolerations=[]).cluster
    assert (pool.node_selector, pool.tolerations) == ({}, ())


def test_overrides_take_precedence_over_the_form() -> None:
    config = requested(
        seed=1, overrides={"seed": 2, "training.recovery.interval": 5, "evaluation.decoding.type": "paper"}
    )
    assert (config.seed, config.training.recovery.interval, config.evaluation.decoding.type) == (2, 5, "paper")


def test_overrides_mean_the_same_in_any_order() -> None:
    # Kubeflow Pipelines does not keep the order of a mapping.
    whole = {"cues.provider": {"type": "annotation"}, "evaluation.decoding.sampling.temperature": 0.5}
    overrides = {
        **whole,
        "cues.provider.type": "endpoint",
        "cues.provider.url": "http://cue-model:8000/v1",
        "cues.provider.model": "qwen",
        "evaluation.decoding.type": "sampled",
    }
    for names in (sorted(overrides), sorted(overrides, reverse=True)):
        config = requested(overrides={name: overrides[name] for name in names})
        assert config.cues.provider.model_dump(include={"type", "model"}) == {"type": "endpoint", "model": "qwen"}
        assert config.evaluation.decoding.sampling.temperature == 0.5


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"train_methods": ["vicar"]}, "vicar"),
        ({"overrides": {"training.stepz": 5}}, "there is no setting 'training.stepz'"),
        ({"overrides": {"training..steps": 5}}, "is not a setting"),
        ({"overrides": {"seed.deep": 5}}, "seed is a single value and has no setting"),
        ({"overrides": {"tracking.experiment": "x"}}, "is fixed in the package"),
        ({"gpu_node_selector": {"gpu": "NVIDIA H100"}}, "gpu_node_selector"),
        ({"gpu_node_selector": {"": "h100"}}, "gpu_node_selector"),
        ({"overrides": {"training": {"steps": 5}}}, "write training.steps"),
        ({"overrides": {"checkpoints": "gs://bucket/runs"}}, "neither a folder nor an S3 address"),
        ({"gpu_count": 0}, "0 GPUs per node are requested, but the package was compiled with GPUs"),
        ({"overrides": {"cluster.retries": 5}}, "is fixed in the package"),
        ({"overrides": {"cluster.secrets.storage": "mine"}}, "is fixed in the package"),
        ({"overrides": {"cluster": {"nodes": 2}}}, "is fixed in the package"),
        ({"overrides": {"cluster.namespace": "team-a"}}, "is fixed in the package"),
        ({"overrides": {"cluster.jobs.priority": "urgent"}}, "is fixed in the package"),
        ({"overrides": {"name": "mine"}}, "is fixed in the package"),
        ({"gpu_type": ""}, "gpu_type is empty, but pods take it from the form"),
        ({"image": ""}, "image is empty"),
        ({"overrides": {"cluster.node_selector": {}}}, "has its own field in the form: fill in gpu_node_selector"),
        ({"gpu_node_selector": {"pool": "x" * 64}}, "gpu_node_selector"),
        ({"gpu_count": 99}, "gpu_count"),
        ({"train_methods": ["opd"]}, "teacher"),
        ({"gpu_tolerations": [{"operator": "Exists", "value": "x"}]}, "takes no value"),
        ({"model_student": "hf://org/model@main"}, "vicur models pin hf://org/model@main"),
        ({"model_student": "https://host/model"}, "fetched from hf://, s3:// or pvc://"),
        ({"model_student": "s3://bucket"}, "names a bucket, but not a model in it"),
        ({"model_student": "pvc://claim"}, "write pvc://CLAIM/path"),
        ({"model_teacher": "pvc://claim/../x", "train_methods": ["opd"]}, "write pvc://CLAIM/path"),
        ({"data_source": "pvc://team-data/questions"}, "cluster.data_claims=[team-data]"),
        ({"model_gate_margin": 2.0}, "model_gate_margin"),
        ({"data_splits": ["validation"]}, "test"),
        ({"cue_provider": "oracle"}, "oracle"),
        ({"cue_provider": "endpoint", "cue_endpoint": "http://h/v1"}, "cues.provider.model is missing"),
        ({"cue_endpoint": "http://h/v1"}, "there is no setting 'cues.provider.url'"),
    ],
)
def test_a_wrong_field_is_refused_and_named(form: dict[str, Any], problem: str) -> None:
    with pytest.raises(VicurError) as error:
        requested(**form)
    assert problem in str(error.value)


def test_a_form_cannot_add_gpus_to_a_package_without_them() -> None:
    preset = {**PRESET, "cluster": {"gpu_count": 0}}
    with pytest.raises(VicurError, match="8 GPUs per node are requested, but the package was compiled without GPUs"):
        resolved(preset, Request(gpu_count=8))
    assert resolved(preset, Request(gpu_count=0)).cluster.gpu_count == 0


def test_a_package_for_several_nodes_refuses_to_train_on_one() -> None:
    preset = {**PRESET, "cluster": {"nodes": 2, "queue": "gpus"}}
    with pytest.raises(
        VicurError, match=r"gpu_nodes: 1 node is requested, but the package was compiled for 2.*cluster\.nodes=1"
    ):
        resolved(preset, Request(gpu_nodes=1))
    assert resolved(preset, Request(gpu_nodes=3)).cluster.nodes == 3
    assert resolved(preset, Request(gpu_nodes=1, overrides={"cluster.jobs.always": True})).cluster.launches_job


def test_a_package_that_launches_jobs_for_one_node_refuses_to_train_in_its_own_pod() -> None:
    preset = {**PRESET, "cluster": {"jobs": {"always": True}}}
    with pytest.raises(
        VicurError, match=r"compiled for a TrainJob \(cluster\.jobs\.always\).*Set cluster\.jobs\.always=true"
    ):
        resolved(preset, Request(overrides={"cluster.jobs.always": False}))
    assert resolved(preset, Request(gpu_nodes=1)).cluster.launches_job


def test_a_queue_name_that_no_label_can_hold_is_refused() -> None:
    with pytest.raises(VicurError, match=r"cluster\.queue"):
        validated(RunConfig, {"cluster": {"queue": "q" * 64}}, "it")


@pytest.mark.parametrize("dataset", ["s3://key:hush@bucket/x", "https://user:hush@host/x"])
def test_the_message_about_an_address_does_not_contain_its_secret(dataset: str) -> None:
    with pytest.raises(VicurError) as error:
        requested(data_source=dataset)
    assert "hush" not in str(error.value)


def test_data_and_methods_may_be_replaced_as_a_whole() -> None:
    config = requested(overrides={"data": {"type": "remote", "uri": "s3://bucket/x"}, "methods": ["opsd"]})
    assert config.data.model_dump(include={"type", "uri"}) == {"type": "remote", "uri": "s3://bucket/x"}
    assert config.methods == ("opsd",)


def test_resolving_a_form_does_not_modify_the_preset() -> None:
    before = RunConfig.model_validate(PRESET)
    requested(overrides={"training.steps": 1}, cue_provider="annotation")
    assert RunConfig.model_validate(PRESET) == before


@pytest.mark.parametrize(
    ("name", "value"), [("splits", ["test"]), ("benchmarks", ["test"]), ("student", "tiny"), ("nodes", 1)]
)
def test_the_fields_of_older_packages_are_accepted(name: str, value: Any) -> None:
    now = next(each for each, aliases in FIELD_ALIASES.items() if name in aliases)
    assert requested(**{name: value}) == requested(**{now: value})


def test_the_error_says_how_a_form_leaves_a_setting_out() -> None:
    with pytest.raises(VicurError) as error:
        resolved({"training": {"objective": "k1"}}, Request(train_methods=("sft",)))
    assert '{"training.objective": null} to overrides' in str(error.value)
    assert requested(train_methods=["sft"], overrides={"training.objective": None}).methods == ("sft",)


def test_the_form_starts_with_the_settings_of_the_preset() -> None:
    preset = RunConfig.model_validate({**PRESET, "cues": {"provider": {"type": "annotation"}}})
    defaults = form_defaults(preset, image="vicur:1")
    assert defaults.keys() == form_types().keys() == Request.model_fields.keys()
    assert all(isinstance(value, form_types()[name]) for name, value in defaults.items())
    assert (defaults["train_methods"], defaults["seed"], defaults["cue_provider"]) == (["vicur"], 3, "annotation")
    assert defaults["gpu_tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert resolved(PRESET, validated(Request, form_defaults(RunConfig.model_validate(PRESET), "v"), "it")).seed == 3


def test_a_preset_with_its_defaults_left_out_resolves_as_the_whole_one() -> None:
    full = RunConfig.model_validate(PRESET).model_dump(mode="json", exclude_none=True)
    form = validated(
        Request, {"model_teacher": "/models/32B", "train_methods": ["opd"], "cue_provider": "annotation"}, "the form"
    )
    assert resolved(PRESET, form) == resolved(full, form)
