"""Run ``kubectl`` and report its errors."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from vicur.errors import VicurError
from vicur.redaction import redacted

MINIMUM = (1, 29)
"""Oldest supported release of kubectl. Its kustomize (5.0) reads components and patches as ``k8s/`` writes them."""

_UNREACHABLE = re.compile(
    r"connection (to the server .* )?was refused|no such host|i/o timeout|Unable to connect|current-context|context was not found"
    r"|context .* does not exist"
)

Object = dict[str, Any]
"""A Kubernetes object, as JSON."""


class KubectlError(VicurError):
    """A kubectl command failed."""


class Kubectl:
    """Calls of one kubectl for one context.

    Args:
        context: context of the kubeconfig; empty for the current one.
    """

    def __init__(self, context: str = "") -> None:
        program = shutil.which("kubectl")
        if program is None:
            raise VicurError(
                "kubectl is not installed, or not in the PATH.",
                remedy=f"Install kubectl {_text(MINIMUM)} or later, at most one minor release from the cluster's "
                "(https://kubernetes.io/docs/tasks/tools; Debian: apt-get install kubernetes-client).",
            )
        self._command = [program, *(["--context", context] if context else [])]
        self.context = context

    def require_version(self) -> None:
        """Raise :class:`VicurError` if this kubectl is too old."""
        version = json.loads(self.run("version", "--client", "-o", "json"))["clientVersion"]["gitVersion"]
        match = re.match(r"v(\d+)\.(\d+)", version)
        if match and (int(match[1]), int(match[2])) < MINIMUM:
            raise VicurError(
                f"kubectl is {version}, which is too old for the kustomizations in k8s/.",
                remedy=f"Install kubectl {_text(MINIMUM)} or later, at most one minor release from the cluster's.",
            )

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Return what a command prints.

        Args:
            stdin: the command's input. Secrets are passed this way: arguments are visible to all users of this machine.

        Raises:
            KubectlError: if the command fails.
        """
        # Without input, kubectl must not read the terminal.
        command = [*self._command, *arguments]
        done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, check=False)
        if done.returncode:
            raise _error(arguments, done.stderr)
        return done.stdout

    def get(self, *arguments: str, namespace: str = "") -> list[Object]:
        """Return the objects that ``kubectl get`` finds; none if a named object does not exist."""
        scope = ["-n", namespace] if namespace else []
        text = self.run("get", *arguments, *scope, "--ignore-not-found", "-o", "json")
        found = json.loads(text) if text.strip() else {"items": []}
        return list(found["items"]) if "items" in found else [found]

    def create(self, manifest: Object) -> None:
        """Create an object. It is passed through standard input."""
        self.run("create", "-f", "-", stdin=json.dumps(manifest))


def _text(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _error(arguments: Sequence[str], stderr: str) -> KubectlError:
    # kubectl logs each failed request of its discovery, with a time stamp, before the error itself.
    lines = [
        line
        for line in stderr.strip().splitlines()
        if not re.match(r"[EWI]\d{4} ", line) and not line.startswith("Warning:")
    ]
    problem = redacted(" ".join(lines).removeprefix("error: ")) or "no error message"
    if _UNREACHABLE.search(problem):
        remedy = (
            "Check the cluster with 'kubectl cluster-info', and name the context of your kubeconfig with --context."
        )
    elif "(Forbidden)" in problem:
        remedy = "Use a kubeconfig whose user administers the namespace, and, for cluster-scoped objects, the cluster."
    else:
        remedy = "The command can be repeated by hand with the same arguments."
    return KubectlError(f"{problem.rstrip('.?')}.", where=f"kubectl {' '.join(arguments)}", remedy=remedy, exit_code=1)
