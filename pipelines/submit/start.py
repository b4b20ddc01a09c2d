"""Start and terminate runs."""

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
    """Start a run of a version and return its id. Its experiment is created if it does not exist.

    Raises:
        VicurError: if the server does not answer or refuses.
    """
    import kfp_server_api

    run = kfp_server_api.V2beta1Run(
        display_name=name,
        experiment_id=experiment_id(server, experiment),
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(parameters)),
        service_account=service_account,
    )
    try:
        return server.known(server.call(kfp_server_api.RunServiceApi(server.api).run_service_create_run, run).run_id)
    except VicurError as error:
        if not error.retryable:
            raise
        raise VicurError(
            f"{error.problem} The run may or may not have started.",
            where=error.where,
            remedy=f"Look for {name!r} among the runs of the experiment {experiment} before starting it again.",
        ) from error


def terminate(server: Server, run_id: str) -> None:
    """End a run, except for its exit step. Raise :class:`VicurError` if the run does not exist or has ended."""
    import kfp_server_api

    server.call(kfp_server_api.RunServiceApi(server.api).run_service_terminate_run, run_id)


def experiment_id(server: Server, name: str) -> str:
    """Return the id of an experiment, which is created if it does not exist."""
    import kfp_server_api

    api = kfp_server_api.ExperimentServiceApi(server.api)
    space = {"namespace": server.namespace} if server.namespace else {}
    listed = server.call(api.experiment_service_list_experiments, filter=equals("display_name", name), **space)
    if listed.experiments:
        return server.known(listed.experiments[0].experiment_id)
    experiment = kfp_server_api.V2beta1Experiment(display_name=name, **space)
    return server.known(server.call(api.experiment_service_create_experiment, experiment).experiment_id)
