"""Pipelines and their versions on a server. The name of a version contains the digest of its package, so each package is uploaded once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vicur_pipelines.submit.packaged import Package
from vicur_pipelines.submit.server import UPLOAD_SECONDS, Server

from vicur import __version__
from vicur.errors import VicurError

if TYPE_CHECKING:
    from kfp_server_api import PipelineServiceApi


@dataclass(frozen=True)
class Version:
    """A version of a pipeline on a server."""

    pipeline_id: str
    version_id: str
    new: bool  # whether it was just uploaded


def upload(server: Server, package: Package) -> Version:
    """Create the pipeline of a package and upload its version if the server lacks them.

    Raises:
        VicurError: if the server does not answer or refuses.
    """
    import kfp_server_api

    pipelines = kfp_server_api.PipelineServiceApi(server.api)
    pipeline = _find_pipeline(server, pipelines, package.pipeline) or _create_pipeline(server, pipelines, package)
    existing = _find_version(server, pipelines, pipeline, package.version)
    if existing is not None:
        return Version(pipeline, existing, new=False)
    try:
        made = server.call(
            kfp_server_api.PipelineUploadServiceApi(server.api).upload_pipeline_version,
            str(package.path),
            name=package.version,
            pipelineid=pipeline,
            description=f"sha256 {package.digest}, uploaded by vicur {__version__}",
            seconds=UPLOAD_SECONDS,
        )
    except VicurError as error:
        # Another user may have uploaded the same package in the meantime. The server's error does not distinguish that case.
        existing = None if error.retryable else _find_version(server, pipelines, pipeline, package.version)
        if existing is None:
            raise
        return Version(pipeline, existing, new=False)
    return Version(pipeline, server.known(made.pipeline_version_id), new=True)


def equals(key: str, value: str) -> str:
    """Return a filter for the server's lists that matches an exact value."""
    predicate = {"operation": "EQUALS", "key": key, "string_value": value}
    return json.dumps({"predicates": [predicate]})


def _find_pipeline(server: Server, api: PipelineServiceApi, name: str) -> str | None:
    listed = server.call(
        api.pipeline_service_list_pipelines,
        filter=equals("display_name", name),
        **({"namespace": server.namespace} if server.namespace else {}),
    )
    return listed.pipelines[0].pipeline_id if listed.pipelines else None


def _create_pipeline(server: Server, api: PipelineServiceApi, package: Package) -> str:
    import kfp_server_api

    # The table of the parameters, which the form does not explain. KFP stores texts of any length here.
    description = package.spec["pipelineInfo"].get("description") or ""
    pipeline = kfp_server_api.V2beta1Pipeline(
        display_name=package.pipeline, description=description, namespace=server.namespace
    )
    return server.known(server.call(api.pipeline_service_create_pipeline, pipeline).pipeline_id)


def _find_version(server: Server, api: PipelineServiceApi, pipeline: str, name: str) -> str | None:
    listed = server.call(
        api.pipeline_service_list_pipeline_versions, pipeline, filter=equals("display_name", name), page_size=1
    )
    return listed.pipeline_versions[0].pipeline_version_id if listed.pipeline_versions else None
