"""The students that the tests share. Nothing here is imported where there is no vLLM."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.vllm.cases import Case

_VLLM = bool(find_spec("vllm") and find_spec("vicur_vllm"))
# The project's own environment has neither vLLM nor the plugin.
collect_ignore_glob = [] if _VLLM else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells how far vLLM and transformers were apart in each test that compares them."""
    if not _VLLM:
        return
    from tests.vllm.parity import PRINTED

    found = [
        f"{report.nodeid.rpartition('::')[2]}: {line.removeprefix(PRINTED)}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for line in report.capstdout.splitlines()
        if line.startswith(PRINTED)
    ]
    if found:
        terminalreporter.section("vLLM beside transformers")
        terminalreporter.write_line("\n".join(sorted(found)))


@pytest.fixture(scope="session", params=["first", "assistant"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A student with each sink."""
    from tests.vllm.cases import make_student

    return make_student(request.param, tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A student with sink ``first``."""
    from tests.vllm.cases import make_student

    return make_student("first", tmp_path_factory.mktemp("first"))
