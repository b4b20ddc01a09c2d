"""Resources of the steps follow from the base model; explicit settings win."""

from __future__ import annotations

from typing import Any

import pytest

from vicur.config.cluster import ClusterConfig
from vicur.config.run import RunConfig
from vicur.config.sizes import ignored_sizes, sized, step_size

TINY = (("200m", "1", "1500Mi"), ("200m", "1", "2500Mi"))
LARGE = (("2", "2", "8Gi"), ("8", "8", "64Gi"))


def sizes(**values: Any) -> tuple[tuple[str | None, ...], ...]:
    """Return CPU, its limit and memory of the other steps, and of evaluation and training."""
    cluster = sized(RunConfig.model_validate(values)).cluster
    found = (step_size(cluster, runs_model=runs_model) for runs_model in (False, True))
    return tuple((each.cpu, each.cpu_limit, each.memory) for each in found)


OPD = {"methods": ["opd"], "cluster": {"gpu_count": 0}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"cluster": {"gpu_count": 0}}, TINY),
        ({"cluster": {"gpu_count": 1}}, LARGE),
        ({"cluster": {"gpu_count": 0}, "base": {"path": "/models/8B"}}, LARGE),
        ({**OPD, "training": {"teacher": {"type": "checkpoint", "path": "tiny-teacher"}}}, TINY),
        ({**OPD, "training": {"teacher": {"type": "checkpoint", "path": "/models/8B"}}}, LARGE),
    ],
    ids=["tiny", "tiny with GPUs", "checkpoint", "tiny teacher", "large teacher"],
)
def test_the_tiny_base_needs_little_and_a_checkpoint_gets_room(values: dict[str, Any], expected: Any) -> None:
    assert sizes(**values) == expected


def test_explicit_settings_win_one_by_one() -> None:
    steps = {"steps": {"memory": "3Gi"}, "cpu_steps": {"cpu": "4"}}
    # A CPU of its own is also the limit, not the tiny model's limit.
    assert sizes(cluster={"gpu_count": 0, **steps}) == (("200m", "1", "3Gi"), ("4", "4", "2500Mi"))
    assert sizes(cluster={"gpu_count": 2, "gpu_steps": {"memory": "512Gi"}})[1] == ("8", "8", "512Gi")


def test_settings_for_gpus_do_not_apply_without_gpus() -> None:
    large = {"gpu_steps": {"cpu": "48", "memory": "512Gi"}}
    assert sizes(cluster={"gpu_count": 0, **large}) == TINY
    assert ignored_sizes(ClusterConfig.model_validate({"gpu_count": 0, **large})) == "cluster.gpu_steps"
    assert ignored_sizes(ClusterConfig.model_validate({"gpu_count": 1, **large})) == ""


def test_a_configuration_that_is_sized_stays_as_it_is() -> None:
    once = sized(RunConfig.model_validate({"cluster": {"gpu_count": 0}}))
    # A package keeps its sizes when its form names another student.
    changed = once.model_copy(update={"base": once.base.model_copy(update={"path": "/models/8B"})})
    assert sized(changed).cluster == once.cluster
