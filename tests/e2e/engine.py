"""Start a private Docker Engine without a registry, with a base image made from Debian packages.

    python -m tests.e2e.engine -- bash     # run a command; the engine and its data are deleted when the command exits

The command gets the address of the engine in ``DOCKER_HOST`` and the base image in ``VICUR_BASE``. Tests that it runs use both.

Requires root, dockerd (docker.io) and mmdebstrap. The engine has a separate data folder, socket and pid file, so that it does not affect
another engine on the same machine.
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

# No bridge and no firewall rules, except for networks that a test creates, to leave the machine's configuration unchanged.
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
    """Running engine."""

    folder: Path  # data, socket and logs
    host: str  # value of DOCKER_HOST

    @property
    def environment(self) -> dict[str, str]:
        """Environment for clients."""
        # The classic builder, since BuildKit would have to be installed.
        return {**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}

    def docker(self, *arguments: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run the docker client."""
        return subprocess.run(
            ["docker", *arguments], env=self.environment, capture_output=True, text=True, check=check, timeout=timeout
        )

    def make_base(self) -> str:
        """Create a base image with Debian's Python and return its id."""
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
    """Return why an engine cannot be started on this machine, or an empty string."""
    if os.geteuid():
        return "Starting a private Docker Engine requires root. Run as root."
    absent = [program for program in ("dockerd", "docker", "mmdebstrap") if shutil.which(program) is None]
    if absent:
        return f"Not installed: {', '.join(absent)}. On Debian: apt-get install --no-install-recommends docker.io mmdebstrap"
    return ""


@contextmanager
def private_engine() -> Iterator[Engine]:
    """Yield an engine that is stopped and deleted at the end of the block."""
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
            # dockerd does not unmount the network namespace of containers that used the host's network.
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
