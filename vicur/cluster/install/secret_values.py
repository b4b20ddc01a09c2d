"""The secrets of an installation: which ones it needs, and how missing ones are made.

An existing secret is never changed. Values are neither printed nor passed as arguments.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vicur.cluster.install.kubectl import Kubectl, Object
from vicur.errors import VicurError
from vicur.wording import did_you_mean

MLFLOW_SERVER, MLFLOW_USER, STORAGE, CUE = "vicur-mlflow-server", "vicur-mlflow", "vicur-s3", "vicur-cue"
SERVERS = "vicur-servers"
USERNAME, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
KEYS: dict[str, tuple[str, ...]] = {
    STORAGE: ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    MLFLOW_USER: (USERNAME, PASSWORD),
    MLFLOW_SERVER: ("PGPASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_AUTH_ADMIN_PASSWORD"),
    CUE: ("VICUR_CUE_API_KEY",),
    SERVERS: ("VLLM_API_KEY",),
    "vicur-student": ("VLLM_API_KEY",),
    "vicur-hf": ("HF_TOKEN",),
    "vicur-webhook": ("VICUR_WEBHOOK_URL",),
}
"""Keys of each secret in docs/kubernetes.md."""
_GENERATED = (MLFLOW_SERVER, MLFLOW_USER, CUE, SERVERS)
_ALWAYS = (STORAGE, MLFLOW_USER)
"""Read by steps, which are not part of an overlay."""
KFP_STORAGE = "mlpipeline-minio-artifact"
"""Credentials of KFP's object store."""


@dataclass(frozen=True)
class NewSecret:
    """A secret to create.

    Attributes:
        origin: where its values come from, for messages.
    """

    name: str
    values: Mapping[str, str]
    origin: str

    def __repr__(self) -> str:
        # The generated one would print the values.
        return f"NewSecret({self.name}, {self.origin})"

    def manifest(self, namespace: str) -> Object:
        """Return the object to create."""
        labels = {"app.kubernetes.io/part-of": "vicur"}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.name, "namespace": namespace, "labels": labels},
            "type": "Opaque",
            "stringData": dict(self.values),
        }


def read_files(given: list[str]) -> dict[str, NewSecret]:
    """Return the secrets of ``--secret NAME=FILE``. A file has lines ``KEY=VALUE``.

    Raises:
        VicurError: if a name is unknown, a file is unreadable or a key is missing.
    """
    found = {}
    for each in given:
        name, _, path = each.partition("=")
        if name not in KEYS or not path:
            raise VicurError(
                f"{each!r} is not NAME=FILE with the name of a secret.{did_you_mean(name, KEYS)}",
                where="--secret",
                remedy=f"Use one of the names {', '.join(KEYS)}, and a file with lines KEY=VALUE: --secret vicur-s3=s3.env",
            )
        values = _read(Path(path))
        if missing := [key for key in KEYS[name] if not values.get(key)]:
            raise VicurError(
                f"the file lacks a value for {', '.join(missing)}.",
                where=f"--secret {name}={path}",
                remedy=f"Add lines such as {missing[0]}=...",
            )
        found[name] = NewSecret(name, values, f"from {path}")
    return found


def _read(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise VicurError(
            f"the file cannot be read: {reason}.",
            where=f"--secret {file}",
            remedy="Name a text file with lines KEY=VALUE.",
        ) from error
    # As kubectl's --from-env-file: values may contain "=", and quotes are part of them.
    pairs = (line.partition("=") for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return {key.strip(): value for key, _, value in pairs}


def needed(objects: list[Object]) -> list[str]:
    """Return the names of the secrets that an overlay's pods, and the steps of runs, cannot do without."""
    found = set(_ALWAYS)
    for each in objects:
        # The launcher adds it to jobs with servers.
        if each.get("kind") == "TrainingRuntime":
            found.add(SERVERS)
        for container in each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            sources = [s.get("secretRef") for s in container.get("envFrom", [])]
            sources += [v.get("valueFrom", {}).get("secretKeyRef") for v in container.get("env", [])]
            found |= {s["name"] for s in sources if s and not s.get("optional")}
    return sorted(found)


def existing(kubectl: Kubectl, namespace: str) -> dict[str, set[str]]:
    """Return the keys of each documented secret in a namespace."""
    found = kubectl.get("secrets", *KEYS, namespace=namespace)
    return {each["metadata"]["name"]: set(each.get("data", {})) for each in found}


def read(kubectl: Kubectl, name: str, namespace: str) -> dict[str, str]:
    """Return the values of a secret; none if it does not exist."""
    found = kubectl.get("secret", name, namespace=namespace)
    return {key: base64.b64decode(value).decode() for each in found for key, value in each.get("data", {}).items()}


def generate(name: str, user: str) -> NewSecret:
    """Return a secret with random passwords."""
    values = {key: user if key == USERNAME else secrets.token_hex(24) for key in KEYS[name]}
    return NewSecret(name, values, "generated")


def missing_secrets(
    kubectl: Kubectl,
    overlay: str,
    objects: list[Object],
    namespace: str,
    services: str,
    given: Mapping[str, NewSecret],
    present: Mapping[str, set[str]],
) -> list[NewSecret]:
    """Return the secrets to create.

    Args:
        services: namespace of MLflow and the cue model.
        given: secrets from files.
        present: existing secrets, see :func:`existing`.

    Raises:
        VicurError: if an existing secret lacks a key, or a missing one cannot be generated.
    """
    names = [*dict.fromkeys([*needed(objects), *given])]
    # A profile uses the cue model of the services' namespace, if there is one, with the same key.
    if services != namespace and CUE in existing(kubectl, services):
        names.append(CUE)
    # All names are checked before the first secret is created.
    new = []
    for name in names:
        if name in present:
            _require_keys(name, present[name], namespace)
        elif name in given:
            new.append(given[name])
        elif name == STORAGE and overlay == "dev":
            new.append(_from_kfp(kubectl, namespace))
        elif name == CUE and services != namespace:
            new.append(NewSecret(CUE, read(kubectl, CUE, services), f"copied from the namespace {services}"))
        elif name in _GENERATED:
            new.append(generate(name, "vicur" if services == namespace else namespace))
        else:
            raise VicurError(
                f"the secret {name} does not exist in the namespace {namespace}.",
                where="--secret",
                remedy=f"Pass a file with lines {' and '.join(f'{key}=...' for key in KEYS[name])}: --secret {name}=FILE. "
                "Or create the secret yourself (docs/kubernetes.md).",
            )
    return new


def _require_keys(name: str, keys: set[str], namespace: str) -> None:
    if absent := [key for key in KEYS[name] if key not in keys]:
        raise VicurError(
            f"the secret {name} in the namespace {namespace} lacks the key {', '.join(absent)}.",
            where="secrets",
            remedy=f"Existing secrets are never changed. Add the key with 'kubectl -n {namespace} edit secret {name}', or delete the "
            "secret to have it created again.",
        )


def _from_kfp(kubectl: Kubectl, namespace: str) -> NewSecret:
    found = read(kubectl, KFP_STORAGE, namespace)
    if not {"accesskey", "secretkey"} <= found.keys():
        raise VicurError(
            f"the namespace {namespace} lacks the secret {KFP_STORAGE} with the keys accesskey and secretkey, which hold the credentials "
            "of Kubeflow Pipelines' object store.",
            where="secrets",
            remedy=f"Install standalone Kubeflow Pipelines first, or pass other credentials: --secret {STORAGE}=FILE",
        )
    values = dict(zip(KEYS[STORAGE], (found["accesskey"], found["secretkey"]), strict=True))
    return NewSecret(STORAGE, values, f"copied from the secret {KFP_STORAGE}")
