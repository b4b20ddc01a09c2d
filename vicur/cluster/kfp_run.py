"""The run at the API of Kubeflow Pipelines as evidence of how it ended, for accounts that may not read its workflow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vicur.cluster.evidence import Evidence, verdict_of_state
from vicur.errors import VicurError

ENDPOINT = "KFP_ENDPOINT"
"""Environment variable with the API's address, as the ``kfp`` command reads it."""
_DEFAULT = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
# A profile's pods have a token for this API. The pod's own token is for Kubernetes, and is not sent to other servers.
_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
_SECONDS = 10
_EXIT = ".onExit"


def run_at_kfp(run_id: str) -> Mapping[str, Any]:
    """Return a run as the API describes it, or raise :class:`~vicur.errors.VicurError` if the API does not answer."""
    import requests

    address = (os.environ.get(ENDPOINT) or _DEFAULT).rstrip("/")
    headers = {"Authorization": f"Bearer {_TOKEN.read_text(encoding='utf-8').strip()}"} if _TOKEN.exists() else {}
    try:
        answer = requests.get(f"{address}/apis/v2beta1/runs/{run_id}", headers=headers, timeout=_SECONDS)
        answer.raise_for_status()
        run: Mapping[str, Any] = answer.json()
    except (requests.RequestException, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise VicurError(
            f"the API of Kubeflow Pipelines did not describe the run ({f'HTTP {status}' if status else type(error).__name__}).",
            where=address,
            remedy=f"Set {ENDPOINT} to its address, or allow the steps to list workflows (k8s/base/access/outcome.yaml).",
        ) from error
    return run


def evidence_of_run(run: Mapping[str, Any]) -> Evidence:
    """Return what the API says about a run, while its exit step is running."""
    # The run's own state is RUNNING as long as its exit step is.
    tasks = {str(each.get("display_name") or ""): each.get("state") for each in _tasks(run)}
    body = next((name.removesuffix(_EXIT) for name in tasks if name.endswith(_EXIT)), "")
    verdict = verdict_of_state(str(tasks.get(body) or ""))
    was_stopped = any(
        verdict_of_state(str(each.get("state"))) == "terminated" for each in run.get("state_history") or ()
    )
    return Evidence("terminated" if was_stopped and verdict != "succeeded" else verdict)


def _tasks(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((run.get("run_details") or {}).get("task_details") or ())
