"""Delete the jobs of a run. This is the last resort for runs whose steps were killed before they could delete their own."""

from __future__ import annotations

from vicur.cluster.jobs.api import KubernetesApi
from vicur.cluster.jobs.names import PART_OF, RUN, label_value


def delete_jobs(api: KubernetesApi, run_id: str) -> list[str]:
    """Delete all jobs of a pipeline run and return their names."""
    names = []
    for job in api.jobs(f"{PART_OF}=vicur,{RUN}={label_value(run_id)}"):
        # A job that is being deleted already is listed until its pods have ended.
        if "deletionTimestamp" not in job["metadata"]:
            api.delete(job["metadata"]["name"], job["metadata"]["uid"])
        names.append(str(job["metadata"]["name"]))
    return names
