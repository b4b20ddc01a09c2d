"""Students whose module changes their answers, as after training, and what transformers answers with them."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.vllm.cases import Case, make_student

# The other environments have no vLLM.
collect_ignore_glob = [] if find_spec("vllm") else ["test_*.py"]


@pytest.fixture(scope="session", params=["first", "assistant"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A student with each sink."""
    return make_student(request.param, tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A student with sink ``first``."""
    return make_student("first", tmp_path_factory.mktemp("first"))
