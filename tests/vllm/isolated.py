"""Run a function in a separate process, because vLLM is configured by environment variables and leaves global state behind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from unittest import mock

from tests.vllm.engine import ENVIRONMENT


def isolated(function: Callable[..., Any], *args: Any) -> Any:
    """Return what ``function`` returns in a new process, or raise its exception."""
    with mock.patch.dict("os.environ", ENVIRONMENT), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()
