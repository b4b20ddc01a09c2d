"""Read the status from all its sources."""

from __future__ import annotations

from vicur_pipelines.status.cluster import ClusterState
from vicur_pipelines.status.models import Tracking
from vicur_pipelines.status.report import Part, Report, part_of
from vicur_pipelines.status.runs import latest_runs
from vicur_pipelines.submit.server import STANDALONE, Server, connect

from vicur.redaction import redacted


def read_report(
    endpoint: str | None,
    namespace: str | None,
    token: str | None,
    ca_cert: str | None,
    tracking_uri: str | None,
    last: int,
) -> Report:
    """Return the status. A source that cannot be reached is a part of it."""
    servers: list[Server] = []

    def connected() -> list[Server]:
        servers.append(connect(endpoint, namespace, token, ca_cert))
        return servers

    connection = part_of(connected)
    space = servers[0].pods_in if servers else namespace or STANDALONE
    report = Report(redacted(endpoint or "no Kubeflow Pipelines server"), space)
    tracking, cluster = Tracking(tracking_uri), ClusterState(space)
    if servers:
        report.parts["runs"] = part_of(lambda: tracking.with_outcomes(latest_runs(servers[0], last)))
    else:
        report.parts["runs"] = Part(problem=connection.problem)
    report.parts["queues"] = part_of(cluster.queues)
    report.parts["blocked"] = part_of(cluster.blocked)
    report.parts["models"] = part_of(tracking.models)
    return report
