"""Recurring runs of a version: create, list, pause, resume and delete them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vicur_pipelines.submit.server import Server
from vicur_pipelines.submit.start import experiment_id
from vicur_pipelines.submit.versions import Version

from vicur.errors import VicurError
from vicur.wording import did_you_mean

if TYPE_CHECKING:
    from kfp_server_api import RecurringRunServiceApi, V2beta1RecurringRun

# KFP names the runs after the schedule, without other characters and cut to this length.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,24})")
_PAGE = 100


@dataclass(frozen=True)
class Recurring:
    """A recurring run to create."""

    name: str
    cron: str  # six fields, seconds first
    experiment: str
    parameters: Mapping[str, Any]
    service_account: str | None


def require_name(name: str) -> str:
    """Return a name for a schedule, or raise :class:`VicurError` if its runs could not be named after it."""
    if not _NAME.fullmatch(name):
        raise VicurError(
            f"{name!r} is not a name of a schedule.",
            where="--schedule-name",
            remedy="Use up to 25 lower-case letters, digits and dashes: Kubeflow Pipelines names the runs after it and drops the rest.",
        )
    return name


def create(server: Server, version: Version, recurring: Recurring) -> str:
    """Create a recurring run and return its id. At most one run of it is under way, and missed times are not made up for.

    Raises:
        VicurError: if there is one of this name, or the server does not answer or refuses.
    """
    import kfp_server_api

    if any(each.display_name == recurring.name for each in schedules(server)):
        raise VicurError(
            f"there is a schedule named {recurring.name!r} already.",
            where="--schedule-name",
            remedy=f"Give another name, or delete it first: vicur schedules delete {recurring.name}",
        )
    body = kfp_server_api.V2beta1RecurringRun(
        display_name=recurring.name,
        experiment_id=experiment_id(server, recurring.experiment),
        # Pinned: otherwise each run would take the latest version, including those of other users. Without plugins_input, with which
        # KFP 2.17.0 loses the parameters of a pinned version.
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(recurring.parameters)),
        service_account=recurring.service_account,
        trigger=kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=recurring.cron)),
        mode=kfp_server_api.RecurringRunMode.ENABLE,
        max_concurrency="1",
        no_catchup=True,
        **({"namespace": server.namespace} if server.namespace else {}),
    )
    made = server.call(_api(server).recurring_run_service_create_recurring_run, body)
    return server.known(made.recurring_run_id)


def schedules(server: Server) -> list[V2beta1RecurringRun]:
    """Return all recurring runs, by name."""
    space = {"namespace": server.namespace} if server.namespace else {}
    found: list[V2beta1RecurringRun] = []
    token: str | None = ""
    while token is not None:
        more = {"page_token": token} if token else {}
        page = server.call(_api(server).recurring_run_service_list_recurring_runs, page_size=_PAGE, **space, **more)
        found += page.recurring_runs or ()
        token = page.next_page_token or None
    return sorted(found, key=lambda each: str(each.display_name))


def find(server: Server, name: str) -> V2beta1RecurringRun:
    """Return the recurring run with a name or id, or raise :class:`VicurError` if there is not exactly one."""
    everything = schedules(server)
    found = [each for each in everything if name in (each.display_name, each.recurring_run_id)]
    if not found:
        names = [str(each.display_name) for each in everything]
        raise VicurError(
            f"there is no schedule named {name!r}.",
            where="NAME",
            remedy=f"{did_you_mean(name, names)} There are: {', '.join(names) or 'none'}.".lstrip(),
        )
    if len(found) > 1:
        # The UI accepts equal names.
        ids = ", ".join(str(each.recurring_run_id) for each in found)
        raise VicurError(f"several schedules are named {name!r}.", where="NAME", remedy=f"Give the id of one: {ids}.")
    return found[0]


def pause(server: Server, identifier: str) -> None:
    server.call(_api(server).recurring_run_service_disable_recurring_run, identifier)


def resume(server: Server, identifier: str) -> None:
    server.call(_api(server).recurring_run_service_enable_recurring_run, identifier)


def delete(server: Server, identifier: str) -> None:
    """Delete a recurring run. A run of it that is under way is left alone."""
    # By default, Kubernetes deletes the workflows that a schedule owns, and their runs would stay CANCELING forever.
    server.call(_api(server).recurring_run_service_delete_recurring_run, identifier, propagation_policy="ORPHAN")


def running(server: Server, identifier: str) -> list[str]:
    """Return the ids of the runs of a recurring run that are under way, of the latest ones."""
    import kfp_server_api

    space = {"namespace": server.namespace} if server.namespace else {}
    listed = server.call(
        kfp_server_api.RunServiceApi(server.api).run_service_list_runs,
        page_size=_PAGE,
        sort_by="created_at desc",
        **space,
    )
    mine = [run for run in listed.runs or () if run.recurring_run_id == identifier]
    return [str(run.run_id) for run in mine if run.state not in ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")]


def _api(server: Server) -> RecurringRunServiceApi:
    import kfp_server_api

    return kfp_server_api.RecurringRunServiceApi(server.api)
