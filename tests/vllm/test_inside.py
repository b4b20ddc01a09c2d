"""Startup errors of a vLLM engine inside the training process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vicur.errors import VicurError
from vicur_vllm.inside import InsideEngine

pytestmark = pytest.mark.vllm


@pytest.mark.parametrize("error", [ValueError, torch.OutOfMemoryError])
def test_a_cache_that_is_too_small_or_too_large_is_reported_with_its_setting(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(*_: object, **__: object) -> None:
        raise error(
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.\nSee elsewhere."
        )

    monkeypatch.setattr("vllm.LLM", start)
    with pytest.raises(
        VicurError,
        match=r"failed to start \(No available memory for the cache blocks\)\. cache_gb .* is 0.002\. .*4096 tokens",
    ):
        InsideEngine(tmp_path, {"max_model_len": 4096}, 2_000_000)
