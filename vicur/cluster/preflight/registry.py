"""The registry of checks. To add one, write a function with the decorator :func:`check` in a module of ``checks/``.

@check("queue", topic="cluster", when=lambda target: target.needs.queue is not None)
def _queue(target: Target) -> Finding:
    ...
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, get_args

from vicur.cluster.connection import NoClusterError
from vicur.cluster.preflight.check import Check, Finding, Place, Scope, Target
from vicur.config.preflight import PreflightConfig
from vicur.config.tracking import TrackingConfig

F = TypeVar("F", bound=Callable[..., Finding])

Topic = Literal["machine", "inputs", "services", "cluster"]
"""Sections of the report, in their order."""


@dataclass(frozen=True)
class CheckDefinition:
    """A registered check; see :func:`check`."""

    name: str
    run: Callable[..., Finding]
    topic: Topic
    scope: Scope
    places: tuple[Place, ...]
    when: Callable[[Target], bool]
    each: Callable[[Target], Iterable[Any]] | None
    requires: Callable[[Target], str] | None

    def checks(self, target: Target) -> Iterator[Check]:
        """Yield the checks to make for a target: none, one, or one for each subject."""
        if target.place not in self.places or not self.when(target):
            return
        # In a pod, whatever a laptop needs is needed by a run in the cluster.
        scope: Scope = "cluster" if target.place == "step" else self.scope
        if self.each is None:
            yield Check(self.name, scope, partial(self._run, target))
        else:
            for subject in self.each(target):
                yield Check(self.name.format(subject), scope, partial(self._run, target, subject))

    def _run(self, target: Target, *subject: Any) -> Finding:
        try:
            return self.run(target, *subject)
        except NoClusterError:
            # A missing cluster is the finding of one check ("cluster"). The others report what they would look for.
            if self.requires is None:
                raise
            return Finding(
                "failed",
                f"cannot be checked without a cluster. A run requires {self.requires(target)}",
                "See docs/kubernetes.md for how a platform team sets it up.",
            )


_DEFINITIONS: dict[str, CheckDefinition] = {}


def check(
    name: str,
    *,
    topic: Topic,
    scope: Scope = "cluster",
    places: tuple[Place, ...] = get_args(Place),
    when: Callable[[Target], bool] = lambda _: True,
    each: Callable[[Target], Iterable[Any]] | None = None,
    requires: Callable[[Target], str] | None = None,
) -> Callable[[F], F]:
    """Register a function ``(target) -> Finding`` as a check.

    Args:
        name: name in reports. With ``each``, ``{}`` is replaced by the subject (``bucket {}``).
        topic: section of the report.
        scope: ``laptop`` if a run on the user's machine needs it too.
        places: places that it can run from.
        when: whether the target needs the check.
        each: subjects of the check; the function is called with ``(target, subject)`` for each.
        requires: for a check of the cluster, what a run requires there; reported if none is configured.
    """

    def register(run: F) -> F:
        if name in _DEFINITIONS:
            raise ValueError(f"there are two checks named {name!r}")
        _DEFINITIONS[name] = CheckDefinition(name, run, topic, scope, places, when, each, requires)
        return run

    return register


def definitions() -> list[CheckDefinition]:
    """Return all registered checks in the order of reports."""
    from vicur.cluster.preflight import checks

    for module in pkgutil.iter_modules(checks.__path__):
        importlib.import_module(f"{checks.__name__}.{module.name}")
    # Within a topic, checks keep the order of their modules and, in a module, of their definition.
    topics = get_args(Topic)
    return sorted(_DEFINITIONS.values(), key=lambda each: (each.scope == "cluster", topics.index(each.topic)))


def checks_for(target: Target) -> list[Check]:
    """Return the checks to make for a target."""
    return [each for definition in definitions() for each in definition.checks(target)]


def laptop_checks(needs: PreflightConfig, tracking: TrackingConfig, *, cluster: bool = False) -> list[Check]:
    """Return the checks of ``vicur doctor``; with ``cluster``, for a run in a cluster."""
    return checks_for(Target(needs, tracking, "laptop", for_cluster=cluster))


def step_checks(needs: PreflightConfig, tracking: TrackingConfig) -> list[Check]:
    """Return the checks of a pipeline's first step, made from its pod."""
    return checks_for(Target(needs, tracking, "step", for_cluster=True))
