"""Packages in which several pods share the work of preparing the dataset and of making cues."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from vicur_pipelines.package import write_package

from tests.cli.calling import Command
from tests.pipelines.kfp_cache import Cache
from tests.pipelines.kfp_execution import Artifact, Execution
from tests.pipelines.kfp_server_double import KfpServerDouble, node
from tests.pipelines.pod_patch import go_json
from tests.pipelines.portions import execution, write_dataset, write_source
from tests.pipelines.test_size import LIMIT, properties
from tests.pipelines.workflow_status import WorkflowStatus
from vicur.config.run import RunConfig
from vicur.config.validation import validated
from vicur.cues.portions import AUTOMATIC as CUES
from vicur.data.portions.plan import AUTOMATIC as DATA
from vicur.errors import VicurError

PORTIONS: dict[str, Any] = {"gpu_count": 0, "portions": {"prepare": 4, "extract": 2}}
LATER = {"base", "evaluate-base", "train vicur", "evaluate vicur", "compare"}
ALWAYS = {"preflight", "register", "outcome"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "dataset")


def portioned(
    folder: Path, source: Path, dataset: Path, form: Mapping[str, Any] | None = None, **settings: Any
) -> Execution:
    return execution(folder, source, dataset, form, **{"methods": ["vicur"], "cluster": PORTIONS, **settings})


def numbered(stage: str, *numbers: int) -> set[str]:
    return {f"{stage}-portion {number}" for number in numbers}


def test_each_portion_is_a_task_and_the_merge_gets_all(tmp_path: Path, source: Path, dataset: Path) -> None:
    tasks = [each for each in portioned(tmp_path / "p", source, dataset) if each.kind == "container"]
    names = [task.name for task in tasks]
    assert names.count("prepare-portion") == 4
    assert names.count("extract-portion") == 2
    by_name = {task.name: task for task in tasks}
    for stage, count in (("prepare", 4), ("extract", 2)):
        assert by_name[stage].artifacts["portions"] == [
            Artifact(f"{stage}-portion", "portion", i) for i in range(count)
        ]
        assert names.index(f"{stage}-plan") < names.index(f"{stage}-portion") < names.index(stage)
    ranges = [task.parameters["step"]["config"] for task in tasks if task.name == "extract-portion"]
    assert [(each.get("first", 0), each["end"]) for each in ranges] == [(0, 6), (6, 12)]
    secrets = {
        name: {each["secretName"] for each in task.kubernetes["secretAsVolume"]} for name, task in by_name.items()
    }
    # A step has the secrets of the services that it calls.
    assert {name for name, has in secrets.items() if "vicur-cue" in has} == {"preflight", "extract-portion"}
    assert {name for name, has in secrets.items() if "vicur-mlflow" not in has} == {
        f"{stage}-{kind}" for stage in ("prepare", "extract") for kind in ("plan", "portion")
    }


def test_a_changed_file_repeats_its_portion_and_the_steps_that_follow(
    tmp_path: Path, source: Path, dataset: Path
) -> None:
    cache, everything = Cache(), {"prepare-plan", "prepare", "extract-plan", "extract"} | LATER | ALWAYS
    first = numbered("prepare", 1, 2, 3, 4) | numbered("extract", 1, 2)
    assert cache.run(portioned(tmp_path / "p", source, dataset)) == everything | first
    assert cache.run(portioned(tmp_path / "p", source, dataset)) == ALWAYS
    stat = (source / "part-2.jsonl").stat()
    os.utime(source / "part-2.jsonl", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    # A dataset that was made again is another artifact, so its cues are made again, too.
    again = (everything - {"base"}) | numbered("prepare", 3) | numbered("extract", 1, 2)
    assert cache.run(portioned(tmp_path / "p", source, dataset)) == again


@pytest.mark.parametrize(
    ("form", "merge", "portions"),
    [
        ({"overrides": {"cues.max_leak_share": 0.5}}, "extract", set()),
        ({"overrides": {"cues.samples": 3}}, "extract", set()),
        ({"overrides": {"data.max_skipped_share": 0.5}}, "prepare", numbered("extract", 1, 2)),
    ],
    ids=["max_leak_share", "samples", "max_skipped_share"],
)
def test_a_setting_of_the_merge_leaves_the_portions_cached(
    tmp_path: Path, source: Path, dataset: Path, form: dict[str, Any], merge: str, portions: set[str]
) -> None:
    cache = Cache()
    cache.run(portioned(tmp_path / "p", source, dataset))
    ran = cache.run(portioned(tmp_path / "p", source, dataset, form))
    assert {name for name in ran if name.endswith("-portion") or "-portion " in name} == portions
    assert {merge, f"{merge}-plan"} <= ran


def test_a_form_may_name_a_source_that_cannot_be_divided(tmp_path: Path, source: Path, dataset: Path) -> None:
    form = {"data_source": "digit-scenes"}
    names = [task.name for task in portioned(tmp_path / "p", source, dataset, form)]
    assert names.count("prepare-portion") == 1


def test_the_form_of_a_package_cannot_change_its_steps(tmp_path: Path, source: Path, dataset: Path) -> None:
    with pytest.raises(SystemExit):
        list(portioned(tmp_path / "p", source, dataset, {"overrides": {"cluster.portions.prepare": 2}}))


def test_packages_have_these_steps_only_where_they_are_set(tmp_path: Path) -> None:
    def tasks(**portions: Any) -> set[str]:
        config = RunConfig.model_validate({"cluster": {"portions": portions}})
        write_package(tmp_path / "p.yaml", config, None, versioned=False, pipeline="distill")
        package = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
        return {name.removeprefix("comp-") for name in package["components"]}

    plain = tasks()
    assert not {name for name in plain if "portion" in name or "plan" in name}
    assert {name for name in tasks(extract="auto") - plain if "for-loop" not in name} == {
        "extract-plan",
        "extract-portion",
    }
    assert {name for name in tasks(prepare=2) - plain if "for-loop" not in name} == {"prepare-plan", "prepare-portion"}


@pytest.mark.parametrize("count", [0, 65, "many", 1.5])
def test_a_wrong_number_of_portions_is_refused(count: Any) -> None:
    with pytest.raises(VicurError, match=r"cluster\.portions\.prepare"):
        validated(RunConfig, {"cluster": {"portions": {"prepare": count}}}, "config.yaml")


def test_the_most_portions_that_auto_makes_leave_room_in_the_status_of_a_run(tmp_path: Path) -> None:
    """Each takes about 40 kB on a stock installation, and a method 80 kB."""
    most = {"prepare": DATA.most, "extract": CUES.most}
    source, dataset = write_source(tmp_path / "source", files=DATA.most), write_dataset(tmp_path / "dataset", CUES.most)
    run = portioned(
        tmp_path / "p", source, dataset, cluster={"gpu_count": 0, "portions": most}, methods=["opsd", "vicur"]
    )
    names = [task.name for task in run if task.kind == "container"]
    assert {stage: names.count(f"{stage}-portion") for stage in most} == most
    status = WorkflowStatus("vicur-cluster", properties).add_run(run)
    print(status.total, status.specification, status.sizes)
    assert status.total + status.specification < LIMIT


def test_the_list_of_portions_fits_into_the_environment_of_a_driver(tmp_path: Path) -> None:
    source, dataset = write_source(tmp_path / "source", files=64, rows=1), write_dataset(tmp_path / "dataset", 64)
    portions = {"prepare": 64, "extract": 64}
    for task in portioned(tmp_path / "p", source, dataset, cluster={"gpu_count": 0, "portions": portions}):
        if task.kind == "loop" and "portions" in json.dumps(task.task):
            lists = [value for name, value in task.parameters.items() if name.endswith("portions")]
            assert [len(each) for each in lists] == [64]
            assert len(go_json(lists)) < 64_000


def test_a_run_is_followed_with_numbered_portions_beside_the_steps_of_its_methods(
    kfp: KfpServerDouble, vicur: Command, hidden_cluster: None, tmp_path: Path, source: Path, dataset: Path
) -> None:
    del hidden_cluster
    portioned(tmp_path / "p", source, dataset, methods=["opsd", "vicur"])
    portions = [node("prepare-portion", "RUNNING", 5 + index, iteration=index) for index in range(3)]
    train = node("train", "RUNNING", 9, iteration=1)
    kfp.script = [("RUNNING", portions), ("RUNNING", [*portions, train]), ("SUCCEEDED", [])]
    package = str(tmp_path / "p" / "p.yaml")
    lines = vicur("submit", "--package", package, "--endpoint", kfp.endpoint, "--every", "0.1").output.splitlines()
    assert [line for line in lines if line.endswith(": running")] == [
        *(f"prepare-portion{number}: running" for number in ("", " 2", " 3")),
        "train vicur: running",
    ]
