"""The machine: Python, packages, disk space and a container engine."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.registry import check

KFP_RELEASE = (2, 17)
"""Release of the KFP SDK that pipelines are tested with; a server of the same release runs them."""
_GIB = 2**30
_DOCKER_SECONDS = 10
_LOCAL_PACKAGES = ("torch", "transformers", "kfp", "mlflow")
_CLUSTER_PACKAGES = ("kfp", "kfp-kubernetes", "kubernetes", "mlflow-skinny", "boto3")


@check("python", topic="machine", scope="laptop", places=("laptop",))
def _python(_: Target) -> Finding:
    # No minimum to check: an unsupported Python could not have installed vicur.
    return Finding("ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")


@check("packages", topic="machine", scope="laptop", places=("laptop",))
def _packages(_: Target) -> Finding:
    return packages(_LOCAL_PACKAGES, "local")


@check("disk", topic="machine", scope="laptop")
def _disk(target: Target) -> Finding:
    return disk(target.needs.scratch, target.needs.free_gib)


@check("packages for a cluster", topic="machine", places=("laptop",))
def _cluster_packages(_: Target) -> Finding:
    return packages(_CLUSTER_PACKAGES, "local")


@check("images", topic="machine", places=("laptop",))
def _images(_: Target) -> Finding:
    return container_engine()


def packages(names: tuple[str, ...], extra: str) -> Finding:
    """Check that the packages ``names`` of the extra ``extra`` are installed."""
    releases = {name: _release(name) for name in names}
    missing = [name for name, release in releases.items() if release is None]
    if missing:
        return Finding("failed", f"not installed: {', '.join(missing)}", f"Install 'vicur[{extra}]'.")
    installed = ", ".join(f"{name} {release}" for name, release in releases.items())
    kfp = releases.get("kfp")
    if kfp and tuple(int(part) for part in kfp.split(".")[:2]) != KFP_RELEASE:
        tested = ".".join(map(str, KFP_RELEASE))
        return Finding(
            "warning", installed, f"Pipelines are tested with kfp {tested}: install it, and a server of that release."
        )
    return Finding("ok", installed)


def _release(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def disk(folder: str, free_gib: float) -> Finding:
    """Check that the disk of ``folder`` has ``free_gib`` GiB of free space."""
    existing = Path(folder).absolute()
    # The folder may not exist yet.
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free / _GIB
    message = f"{free:.1f} GiB free below {existing}"
    if free < free_gib:
        return Finding(
            "failed",
            f"{message}, but {free_gib:g} GiB are required",
            "Free some space ('vicur clean' lists what can be removed), or set another folder with --need scratch=FOLDER.",
        )
    return Finding("ok", message)


def container_engine() -> Finding:
    """Check that a Docker Engine responds. It is only used to build images, so its absence is a warning."""
    remedy = "Install Docker Engine to build images here, or build them elsewhere. Runs on this machine do not need it."
    program = shutil.which("docker")
    if program is None:
        return Finding("warning", "there is no docker command", remedy)
    command = [program, "version", "--format", "{{.Server.Version}} {{range .Server.Components}}{{.Name}} {{end}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOCKER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Finding("warning", f"the docker command does not respond within {_DOCKER_SECONDS} s", remedy)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Finding(
            "warning", f"no Docker Engine responds ({reason})", f"Start it, or join the group docker. {remedy}"
        )
    if "podman" in done.stdout.lower():
        return Finding(
            "warning",
            f"the docker command is Podman's ({done.stdout.split()[0]})",
            "Use Docker Engine for 'make docker-e2e': with Podman 4, kfp's DockerRunner takes failed containers for successful ones.",
        )
    return Finding("ok", f"Docker Engine {done.stdout.split()[0]}")
