"""Check every kustomization in ``k8s/`` and print a table: ``python -m tests.k8s`` (``make k8s``)."""

from __future__ import annotations

import sys
from itertools import chain

import pytest
from rich.console import Console
from rich.table import Table

from tests.crds import crd_files
from tests.k8s.object_policy import OUTSIDE, all_problems
from tests.k8s.render import APPLIED, installed, pod_templates, rendered, title
from tests.k8s.requests import requests_of
from tests.k8s.schemas import VERSIONS, is_unchecked, problems


def main() -> int:
    """Print a table and all problems. The exit status is 1 if there is a problem, and 2 if a tool for the checks is missing."""
    try:
        return _check()
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        print(error, file=sys.stderr)
        return 2


def _check() -> int:
    crds, found, unchecked, totals = crd_files(), [], [], []
    table = Table(
        "kustomization",
        "objects",
        "pods",
        *VERSIONS,
        "rules",
        title="Schemas of Kubernetes' versions, and our rules",
    )
    table.columns[0].no_wrap = True
    for name in APPLIED:
        manifests = rendered(name)
        by_version = [[p for m in manifests for p in problems(m, version, crds)] for version in VERSIONS]
        rules = all_problems(installed(name), OUTSIDE.get(name, frozenset()))
        unknown = [f"{name}: {title(m)} of {m['apiVersion']}" for m in manifests if is_unchecked(m, crds)]
        valid = f"valid, {len(unknown)} unchecked" if unknown else "valid"
        counts = [str(len(each)) if each else valid for each in by_version]
        table.add_row(
            name,
            str(len(manifests)),
            str(len(pod_templates(manifests))),
            *counts,
            str(len(rules)) if rules else "passed",
        )
        if requests := requests_of(manifests):
            totals.append(f"{name}: its services request {requests}")
        found += [f"{name}: {problem}" for problem in (*dict.fromkeys(chain(*by_version)), *rules)]
        unchecked += unknown
    console = Console(soft_wrap=True)
    console.print(table)
    for each in totals:
        console.print(each, markup=False, highlight=False)
    for each in unchecked:
        console.print(
            f"Not checked, because its definition is missing (set VICUR_CRDS): {each}", style="yellow", markup=False
        )
    for problem in found:
        console.print(problem, style="red", markup=False)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
