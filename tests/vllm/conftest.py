"""The students that the tests share. Nothing here is imported where there is no vLLM."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.vllm.cases import Case

# The project's own environment has neither vLLM nor the plugin.
collect_ignore_glob = [] if find_spec("vllm") and find_spec("vicur_vllm") else ["test_*.py"]


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
