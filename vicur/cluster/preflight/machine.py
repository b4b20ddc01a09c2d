"""What the machine itself must have: releases of packages, disk, a container engine."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vicur.cluster.preflight.finding import Finding

KFP_RELEASE = (2, 17)
"""Release of the KFP SDK that packages are compiled with; a server of the same release runs them."""
_GIB = 2**30
_DOCKER_SECONDS = 10


def python_release() -> Finding:
    """Python's release; that this runs says that it is recent enough."""
    return Finding("ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")


def packages(names: tuple[str, ...], extra: str) -> Finding:
    """Whether the packages of an extra are installed.

    Args:
        names: distributions.
        extra: the extra that brings them.
    """
    releases = {name: _release(name) for name in names}
    missing = [name for name, release in releases.items() if release is None]
    if missing:
        return Finding("failed", f"not installed: {', '.join(missing)}", f"Install 'vicur[{extra}]'.")
    shown = ", ".join(f"{name} {release}" for name, release in releases.items())
    kfp = releases.get("kfp")
    if kfp and tuple(int(part) for part in kfp.split(".")[:2]) != KFP_RELEASE:
        wanted = ".".join(map(str, KFP_RELEASE))
        return Finding("warning", shown, f"Packages are tested with kfp {wanted}: install that, and a server of it.")
    return Finding("ok", shown)


def _release(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def disk(folder: str, free_gib: float) -> Finding:
    """Whether the disk below ``folder`` has ``free_gib`` GiB left."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / _GIB
    what = f"{free:.1f} GiB free below {place}"
    if free < free_gib:
        return Finding(
            "failed",
            f"{what}, {free_gib:g} GiB are needed",
            "Free some ('vicur clean' says what takes disk), or name another folder.",
        )
    return Finding("ok", what)


def container_engine() -> Finding:
    """Whether a Docker Engine answers, which builds the images."""
    remedy = (
        "Install Docker Engine to build images here, or have them built elsewhere; runs on this machine do without."
    )
    program = shutil.which("docker")
    if program is None:
        return Finding("warning", "no docker command is found", remedy)
    command = [program, "version", "--format", "{{.Server.Version}} {{range .Server.Components}}{{.Name}} {{end}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOCKER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Finding("warning", f"the docker command does not answer in {_DOCKER_SECONDS} s", remedy)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Finding("warning", f"no engine answers ({said})", f"Start it, or join the group docker. {remedy}")
    if "podman" in done.stdout.lower():
        return Finding(
            "warning",
            f"the docker command is Podman's ({done.stdout.split()[0]})",
            "kfp's DockerRunner takes failed containers of Podman 4 for good ones: use Docker Engine for 'make docker-e2e'.",
        )
    return Finding("ok", f"Docker Engine {done.stdout.split()[0]}")
