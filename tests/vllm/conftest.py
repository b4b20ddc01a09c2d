"""Students that the tests share. This module imports vLLM only if it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.vllm.cases import Case

_VLLM = bool(find_spec("vllm") and find_spec("vicur_vllm"))
# Skip these tests in the project's main environment, which has neither vLLM nor the plugin.
collect_ignore_glob = [] if _VLLM else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the largest difference between vLLM and transformers in each test that compares them."""
    if not _VLLM:
        return
    from tests.vllm.parity import PRINTED

    lines = [
        f"{report.nodeid.rpartition('::')[2]}: {line.removeprefix(PRINTED)}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for line in report.capstdout.splitlines()
        if line.startswith(PRINTED)
    ]
    if lines:
        terminalreporter.section("vLLM compared with transformers")
        terminalreporter.write_line("\n".join(sorted(lines)))


@pytest.fixture(scope="session", params=["first", "assistant"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Return a student for each sink."""
    from tests.vllm.cases import make_student

    return make_student(request.param, tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Return a student with the sink ``first``."""
    from tests.vllm.cases import make_student

    return make_student("first", tmp_path_factory.mktemp("first"))
