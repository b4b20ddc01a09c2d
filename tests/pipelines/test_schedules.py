"""Recurring runs: ``vicur submit --schedule`` and ``vicur schedules``, against the double of the server."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vicur_pipelines.submit.cron import next_times, parse_schedule

from tests.pipelines.kfp_server_double import KfpServerDouble
from vicur.errors import VicurError

NIGHTLY = "0 3 * * *"


@pytest.fixture
def schedules(vicur, kfp: KfpServerDouble):
    return lambda *arguments: vicur("schedules", *arguments, "--endpoint", kfp.endpoint)


def created(kfp: KfpServerDouble) -> Any:
    (recurring,) = kfp.recurring.values()
    return recurring


@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("*/15 * * * *", "0 0,15,30,45 * * * *"),
        ("30 2 1,15 * *", "0 30 2 1,15 * *"),
        ("0 22-23 * jan-mar mon-fri", "0 0 22,23 * 1,2,3 1,2,3,4,5"),
        ("0 9 * * 7", "0 0 9 * * 0"),
        ("0 0 29 2 *", "0 0 0 29 2 *"),
        ("5/20 0 * * *", "0 5,25,45 0 * * *"),
        (
            "*/1 */1 */1 */1 */1",
            "0 * * 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31 * 0,1,2,3,4,5,6",
        ),
    ],
)
def test_a_crontab_gets_the_six_fields_of_kubeflow_pipelines(text: str, cron: str) -> None:
    assert parse_schedule(text).cron == cron


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        ("", "0 fields, not five", "Write minute, hour"),
        ("0 3 * *", "4 fields, not five", "Write minute, hour"),
        ("0 0 3 * * *", "6 fields, not five", "Leave out the seconds."),
        ("@daily", "1 field, not five", "Write minute, hour"),
        ("60 3 * * *", "'60' is not a valid minute", "It is 0 to 59."),
        ("0 3 0 * *", "'0' is not a valid day of the month", "It is 1 to 31."),
        ("0 3 * foo *", "'foo' is not a valid month", "It is 1 to 12 or jan to dec."),
        ("0 3 * * 8", "'8' is not a valid weekday", "It is 0 to 7 or sun to sat."),
        ("0 5-3 * * *", "'5-3' contains no hour", "Write minute, hour"),
        ("0/0 3 * * *", "'0/0' contains no minute", "Write minute, hour"),
        ("*-3 3 * * *", "'*-3' is not a valid minute", "Write minute, hour"),
        ("0 3,, * * *", "'' is not a valid hour", "Write minute, hour"),
        ("0 3 L * *", "'l' is not a valid day of the month", "It is 1 to 31."),
        ("0 0 31 2,4 *", "none of its months has such a day", "Choose a day that exists."),
    ],
)
def test_what_is_not_a_schedule_is_refused(text: str, problem: str, remedy: str) -> None:
    with pytest.raises(VicurError) as caught:
        parse_schedule(text)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


def test_the_next_times_of_a_schedule() -> None:
    after = datetime(2026, 11, 30, 13, 40)
    nightly = [datetime(2026, 12, day, 3) for day in (1, 2)]
    assert next_times(parse_schedule(NIGHTLY), after, 2) == nightly
    # Either kind of day is enough if both are restricted: the 3rd and each Monday.
    both = next_times(parse_schedule("0 0 3 * mon"), after, 3)
    assert [time.day for time in both] == [3, 7, 14]
    assert next_times(parse_schedule("0 0 29 2 *"), after, 1) == [datetime(2028, 2, 29)]
    assert next_times(parse_schedule("40,41 13 * * *"), after, 1) == [datetime(2026, 11, 30, 13, 41)]


@given(st.lists(st.sampled_from(["*", "*/7", "1", "1-5", "2,3", "x", "99", "1-", "/", "mon"]), min_size=5, max_size=5))
def test_a_schedule_either_occurs_or_is_refused(parts: list[str]) -> None:
    try:
        schedule = parse_schedule(" ".join(parts))
    except VicurError:
        return
    assert next_times(schedule, datetime(2026, 1, 1), 1)


def test_a_schedule_is_created_with_everything_that_its_runs_need(kfp, submit) -> None:
    result = submit("--schedule", NIGHTLY, "--service-account", "vicur-pipeline", "-p", "seed=3")
    assert result.code == 0
    recurring = created(kfp)
    assert recurring.display_name.startswith("vicur-distill-20")
    assert recurring.trigger.cron_schedule.cron == "0 0 3 * * *"
    assert recurring.pipeline_version_reference.pipeline_version_id == "pipeline_version-1"
    assert (recurring.max_concurrency, recurring.no_catchup, recurring.mode) == ("1", True, "ENABLE")
    assert (recurring.service_account, recurring.plugins_input) == ("vicur-pipeline", None)
    assert recurring.runtime_config.parameters["seed"] == 3
    assert {"methods", "training"} <= recurring.runtime_config.parameters.keys(), "all parameters are given"
    assert kfp.experiments[recurring.experiment_id].display_name == "vicur"
    assert kfp.runs == {}, "the first run starts at the first time"
    assert "Next times, in UTC" in result.output
    assert " 03:00" in result.output
    assert "service account" not in result.output


def test_a_name_is_given_once_and_only_if_the_runs_can_have_it(kfp, submit) -> None:
    assert submit("--schedule", NIGHTLY, "--schedule-name", "nightly").code == 0
    result = submit("--schedule", NIGHTLY, "--schedule-name", "nightly")
    assert (result.code, len(kfp.recurring)) == (2, 1)
    assert "vicur schedules delete nightly" in result.error
    result = submit("--schedule", NIGHTLY, "--schedule-name", "Every night")
    assert result.code == 2
    assert "'Every night' is not a name of a schedule" in result.error


def test_without_a_service_account_the_output_says_which_one_is_used(submit) -> None:
    assert "Its runs use the server's service account" in submit("--schedule", NIGHTLY).output


def test_a_schedule_on_a_multi_user_server_is_in_the_profile(kfp, submit) -> None:
    kfp.multi_user = True
    assert submit("--schedule", NIGHTLY, "-n", "team-a").code == 0
    assert created(kfp).namespace == "team-a"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--schedule", "0 3 * *"], "--schedule: '0 3 * *' is not a schedule"),
        (["--schedule-name", "nightly"], "--schedule-name: no schedule is given"),
        (["--schedule", NIGHTLY, "--run-name", "x"], "--run-name: Kubeflow Pipelines names the runs"),
        (["--schedule", ""], "0 fields, not five"),
    ],
)
def test_wrong_schedules_are_refused_before_anything_is_sent(kfp, submit, arguments: list[str], problem: str) -> None:
    result = submit(*arguments)
    assert (result.code, kfp.requests) == (2, [])
    assert problem in result.error


def test_an_existing_run_has_no_schedule(kfp, submit) -> None:
    result = submit("--follow", "run-1", "--schedule", NIGHTLY, start=False)
    assert (result.code, kfp.requests) == (2, [])
    assert "an existing run has no schedule" in result.error


def test_schedules_are_listed_paused_resumed_and_deleted(kfp, submit, schedules) -> None:
    assert schedules("list").output == "There are no schedules.\n"
    submit("--schedule", NIGHTLY, "--schedule-name", "nightly")
    submit("--schedule", "0 9 * * mon", "--schedule-name", "mondays")
    assert [row["name"] for row in json.loads(schedules("list", "--json").output)] == ["mondays", "nightly"]
    assert "resume nightly" in schedules("pause", "nightly").output
    assert "nightly  paused  0 0 3 * * *  schedule-1" in schedules("list").output
    schedules("resume", "nightly")
    assert "nightly  active" in schedules("list").output
    result = schedules("delete", "nightly")
    assert (result.code, result.output) == (0, "Deleted nightly. Its runs are kept.\n")
    assert [each.display_name for each in kfp.recurring.values()] == ["mondays"]


def test_deleting_a_schedule_leaves_its_running_run_alone(kfp, submit, schedules) -> None:
    submit("--no-follow")
    submit("--schedule", NIGHTLY, "--schedule-name", "nightly")
    (run,) = kfp.runs.values()
    run.recurring_run_id, run.state = "schedule-1", "RUNNING"
    result = schedules("delete", "nightly")
    assert kfp.deleted == {"schedule-1": "ORPHAN"}
    assert "Run run-1 of it is under way and should continue." in result.output


def test_an_unknown_schedule_is_reported_with_the_closest_name(submit, schedules) -> None:
    submit("--schedule", NIGHTLY, "--schedule-name", "nightly")
    result = schedules("pause", "nightli")
    assert result.code == 2
    assert "there is no schedule named 'nightli'. Did you mean 'nightly'?" in " ".join(result.error.split())


def test_equal_names_from_the_ui_need_an_id(kfp, submit, schedules) -> None:
    submit("--schedule", NIGHTLY, "--schedule-name", "nightly")
    submit("--schedule", NIGHTLY, "--schedule-name", "other")
    kfp.recurring["schedule-2"].display_name = "nightly"
    result = schedules("delete", "nightly")
    assert result.code == 2
    assert "Give the id of one: schedule-1, schedule-2." in result.error
    assert schedules("delete", "schedule-2").code == 0
