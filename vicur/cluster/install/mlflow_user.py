"""Create MLflow's user of the pipeline, by a command in MLflow's pod."""

from __future__ import annotations

import json
from pathlib import Path

from vicur.cluster.install import secret_values
from vicur.cluster.install.kubectl import Kubectl
from vicur.errors import VicurError

SCRIPT = Path(__file__).with_name("in_pod.py")
"""Runs in MLflow's container."""


def create_user(kubectl: Kubectl, namespace: str, services: str) -> str:
    """Create the user in the secret ``vicur-mlflow`` of ``namespace``, unless MLflow has it. Returns what was done.

    Args:
        services: MLflow's namespace.

    Raises:
        VicurError: if MLflow has the user with another password, or rejects its administrator.
    """
    values = secret_values.read(kubectl, secret_values.MLFLOW_USER, namespace)
    user = {"username": values[secret_values.USERNAME], "password": values[secret_values.PASSWORD]}
    command = ("exec", "-i", "-n", services, "deployment/mlflow", "-c", "mlflow", "--", "python", "-c")
    try:
        outcome = kubectl.run(*command, SCRIPT.read_text(encoding="utf-8"), stdin=json.dumps(user)).strip()
    except VicurError as error:
        # Without the script, which fills a screen.
        raise VicurError(
            error.problem,
            where=f"kubectl {' '.join(command)} ...",
            remedy="Give the same command again, or create the user by hand (docs/kubernetes.md, step 5).",
            exit_code=1,
        ) from error
    name = user["username"]
    if outcome == "other-password":
        raise VicurError(
            f"MLflow has a user {name} with another password than the secret {secret_values.MLFLOW_USER}.",
            where=f"namespace {namespace}",
            remedy="Change the password in MLflow (PATCH /api/2.0/mlflow/users/update-password), or delete the secret and create it with "
            f"the right password: kubectl -n {namespace} create secret generic {secret_values.MLFLOW_USER} --from-env-file=FILE",
            exit_code=1,
        )
    if outcome == "admin-rejected":
        raise VicurError(
            f"MLflow rejects the administrator's password of the secret {secret_values.MLFLOW_SERVER}: it was changed in MLflow, or the "
            "secret was created again after MLflow's database.",
            where=f"namespace {services}",
            remedy=f"Create the user {name} by hand as MLflow's administrator (docs/kubernetes.md, step 5).",
            exit_code=1,
        )
    return f"MLflow's user {name}: {outcome}"
