"""Wait for an overlay's workloads and show their progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vicur.cluster.install.kubectl import Kubectl, KubectlError, Object
from vicur.cluster.install.workloads import NO_POD, State, states
from vicur.errors import VicurError

_INTERVAL = 3.0
# Consecutive failures of kubectl until waiting ends: an API server that restarts is away for seconds.
_FAILURES = 5
# Pods of services. Those of steps lack the label with a name, and a busy namespace has thousands of them.
_SERVICES = "app.kubernetes.io/part-of=vicur,app.kubernetes.io/name"


def wait_until_ready(
    kubectl: Kubectl, manifests: list[Object], namespace: str, seconds: float, console: Console
) -> list[State]:
    """Wait until all workloads are ready that do not depend on staged weights, and return the last states.

    Raises:
        VicurError: if a job fails or the time is up.
    """
    deadline = time.monotonic() + seconds
    failures = 0
    with _display(console) as show:
        while True:
            try:
                current = _look(kubectl, manifests, namespace)
                failures = 0
            except KubectlError:
                # Also the time in which a new API server becomes ready.
                failures += 1
                if failures >= _FAILURES:
                    raise
                time.sleep(_INTERVAL)
                continue
            show(current)
            pending = [each for each in current if each.awaited and not each.is_ready]
            for each in pending:
                if each.failed:
                    raise _failed(each, namespace)
            if not pending:
                return current
            if time.monotonic() >= deadline:
                raise _late(pending, namespace, seconds)
            time.sleep(_INTERVAL)


def _look(kubectl: Kubectl, manifests: list[Object], namespace: str) -> list[State]:
    """Return the current states."""
    found = kubectl.get("deployments,statefulsets,jobs", namespace=namespace)
    found += kubectl.get("pods", "-l", _SERVICES, namespace=namespace)
    current = states(manifests, found)
    if any(each.reason == NO_POD for each in current):
        # A quota or Pod Security may reject the pods.
        events = kubectl.get("events", "--field-selector=reason=FailedCreate", namespace=namespace)
        current = states(manifests, [*found, *events])
    return current


@contextmanager
def _display(console: Console) -> Iterator[Callable[[list[State]], None]]:
    """Yield a function that shows states: a table that is redrawn on a terminal, otherwise a line per change."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda current: live.update(table(current), refresh=True)
        return
    shown: dict[str, str] = {}

    def show(current: list[State]) -> None:
        for each in current:
            line = f"{each.title}: {each.ready}/{each.total} {_reason(each)}".rstrip()
            if shown.get(each.title) != line:
                shown[each.title] = line
                console.print(line, markup=False, highlight=False, soft_wrap=True)

    yield show


def table(current: list[State]) -> Table:
    """Return a table with a row per workload."""
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    rows.add_column("workload", no_wrap=True)
    rows.add_column("ready", no_wrap=True)
    rows.add_column("reason", overflow="fold")
    for each in current:
        style = "green" if each.is_ready else "red" if each.failed else "yellow"
        rows.add_row(Text(each.title), Text(f"{each.ready}/{each.total}", style=style), Text(_reason(each)))
    return rows


def _reason(state: State) -> str:
    if state.is_ready:
        return ""
    return state.reason if state.awaited else f"needs staged weights; not awaited ({state.reason})"


def _failed(state: State, namespace: str) -> VicurError:
    return VicurError(
        f"{state.title} has failed ({state.reason}).",
        where=f"namespace {namespace}",
        remedy=f"Its log says why: kubectl -n {namespace} logs {state.title.lower()} --tail=20. Then give the same command again: it "
        "replaces a failed job.",
        exit_code=1,
    )


def _late(pending: list[State], namespace: str, seconds: float) -> VicurError:
    each = "; ".join(f"{state.title} {state.ready}/{state.total}: {state.reason}" for state in pending)
    return VicurError(
        f"not ready after {seconds / 60:g} minutes: {each}.",
        where=f"namespace {namespace}",
        remedy=f"Correct the cause (kubectl -n {namespace} describe {pending[0].title.lower()}) and give the same command again, which "
        "continues; --timeout MINUTES waits longer.",
        exit_code=1,
    )
