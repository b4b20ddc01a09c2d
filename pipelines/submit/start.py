"""Starts and terminates runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vicur_pipelines.submit.server import Server
from vicur_pipelines.submit.versions import Version, equals

from vicur.errors import VicurError


def start(
    server: Server,
    version: Version,
    name: str,
    experiment: str,
    parameters: Mapping[str, Any],
    service_account: str | None = None,
) -> str:
    """Starts a run of a version and returns its id.

    Args:
        server: where.
        version: of what.
        name: what the run is called.
        experiment: experiment that it is filed under, created where there is none of this name.
        parameters: values of those parameters that are not to have the package's default.
        service_account: account of its pods; the server's default if left out.

    Raises:
        VicurError: where the server does not answer or refuses.
    """
    import kfp_server_api

    wanted = kfp_server_api.V2beta1Run(
        display_name=name,
        experiment_id=_experiment(server, experiment),
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(parameters)),
        service_account=service_account,
    )
    try:
        return server.known(server.call(kfp_server_api.RunServiceApi(server.api).run_service_create_run, wanted).run_id)
    except VicurError as error:
        if not error.retryable:
            raise
        raise VicurError(
            f"{error.problem} Whether the run was started is not known.",
            where=error.where,
            remedy=f"Look for {name!r} among the runs of {experiment} before you start it again.",
        ) from error


def terminate(server: Server, run_id: str) -> None:
    """Asks the server to end a run; its exit step still runs.

    Raises:
        VicurError: where there is no such run, or it has ended.
    """
    import kfp_server_api

    server.call(kfp_server_api.RunServiceApi(server.api).run_service_terminate_run, run_id)


def _experiment(server: Server, name: str) -> str:
    import kfp_server_api

    api = kfp_server_api.ExperimentServiceApi(server.api)
    space = {"namespace": server.namespace} if server.namespace else {}
    found = server.call(api.experiment_service_list_experiments, filter=equals("display_name", name), **space)
    if found.experiments:
        return server.known(found.experiments[0].experiment_id)
    wanted = kfp_server_api.V2beta1Experiment(display_name=name, **space)
    return server.known(server.call(api.experiment_service_create_experiment, wanted).experiment_id)
