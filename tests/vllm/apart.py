"""Runs a function in a process of its own: vLLM takes its settings from the environment, and leaves much behind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from unittest import mock

from tests.vllm.engine import ENVIRONMENT


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """What ``function`` gives, or raises."""
    with mock.patch.dict("os.environ", ENVIRONMENT), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()
