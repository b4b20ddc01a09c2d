"""Removes what a run has left on the cluster: the last layer, for runs that were ended without their steps being told."""

from __future__ import annotations

from vicur.cluster.jobs.api import Api
from vicur.cluster.jobs.names import PART_OF, RUN, label_value


def reap(api: Api, run_id: str) -> list[str]:
    """Has all jobs of a run removed.

    Args:
        api: the cluster.
        run_id: the pipeline run.

    Returns:
        Their names.

    Raises:
        VicurError: where the server does not answer or refuses.
    """
    names = []
    for job in api.jobs(f"{PART_OF}=vicur,{RUN}={label_value(run_id)}"):
        if "deletionTimestamp" not in job["metadata"]:
            api.delete(job["metadata"]["name"], job["metadata"]["uid"])
        names.append(str(job["metadata"]["name"]))
    return names
