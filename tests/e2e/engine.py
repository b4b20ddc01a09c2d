"""A Docker Engine of one's own, without a registry, and a base image for it that is made from Debian's packages.

    python -m tests.e2e.engine -- bash     # runs a command against it; the engine and all that it holds go when the command ends

The command finds its address in ``DOCKER_HOST`` and the base in ``VICUR_BASE``, and so do the tests when they are run there.

Needs root, dockerd (docker.io) and mmdebstrap. Nothing that runs on the machine already is touched: data, sockets and pid file are its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# No bridge and no firewall rules but those of networks that a test makes: the machine's own are left alone.
_SETTINGS = {
    "bridge": "none",
    "iptables": False,
    "ip-forward": False,
    "ip-masq": False,
    "userland-proxy": False,
    "storage-driver": "overlay2",
    "oom-score-adjust": 0,
}
_SUITE = "bookworm"
_PACKAGES = ("ca-certificates", "python3", "python3-venv")
_START_SECONDS = 60


@dataclass(frozen=True)
class Engine:
    """A running engine.

    Attributes:
        folder: where all of it lies.
        host: its address, as ``DOCKER_HOST`` has it.
    """

    folder: Path
    host: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which clients talk to it. The builder that came with all releases is the one that needs nothing installed."""
        return {**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}

    def docker(self, *arguments: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Runs the client."""
        return subprocess.run(
            ["docker", *arguments], env=self.environment, capture_output=True, text=True, check=check, timeout=timeout
        )

    def make_base(self) -> str:
        """Makes a base image of Debian's own Python; returns its id."""
        archive = self.folder / "base.tar"
        command = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(_PACKAGES)}",
            _SUITE,
            str(archive),
        ]
        subprocess.run(command, check=True, timeout=600)
        imported = self.docker("import", str(archive)).stdout.strip()
        archive.unlink()
        return imported


def missing() -> str:
    """Why an engine can't be started here, and what to do; empty where it can."""
    if os.geteuid():
        return "A Docker Engine of one's own needs root."
    absent = [program for program in ("dockerd", "docker", "mmdebstrap") if shutil.which(program) is None]
    if absent:
        return f"Not installed: {', '.join(absent)}. On Debian: apt-get install --no-install-recommends docker.io mmdebstrap"
    return ""


@contextmanager
def private_engine() -> Iterator[Engine]:
    """An engine that ends, with all that it holds, when the block does."""
    with tempfile.TemporaryDirectory(prefix="vicur-docker-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "daemon.json").write_text(json.dumps(_SETTINGS), encoding="utf-8")
        host = f"unix://{folder}/docker.sock"
        command = ["dockerd", "--config-file", str(folder / "daemon.json"), "--host", host]
        command += ["--pidfile", str(folder / "docker.pid"), "--data-root", str(folder / "data")]
        command += ["--exec-root", str(folder / "exec")]
        with (folder / "dockerd.log").open("wb") as log:
            daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        engine = Engine(folder, host)
        try:
            _wait(engine, daemon)
            yield engine
        finally:
            for container in engine.docker("ps", "--quiet", "--all", check=False).stdout.split():
                engine.docker("rm", "--force", container, check=False)
            daemon.terminate()
            try:
                daemon.wait(60)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
            # The engine leaves the network that containers share with the machine mounted.
            for network in (folder / "exec" / "netns").glob("*"):
                subprocess.run(["umount", str(network)], check=False)


def _wait(engine: Engine, daemon: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while engine.docker("version", check=False).returncode:
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((engine.folder / "dockerd.log").read_text(encoding="utf-8"))
        time.sleep(0.2)


def main() -> int:
    """Entry point."""
    command = sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:]
    if not command:
        sys.exit("Usage: python -m tests.e2e.engine -- COMMAND...")
    if reason := missing():
        sys.exit(reason)
    with private_engine() as engine:
        return subprocess.run(
            command, env={**engine.environment, "VICUR_BASE": engine.make_base()}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
