"""What would be wrong, or was not checked, is refused at start with the reason and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from vllm.config import CompilationMode, CUDAGraphMode, VllmConfig
from vllm.engine.arg_utils import EngineArgs

from tests.vllm.cases import Case
from vicur.errors import VicurError
from vicur_vllm import engine_arguments, register, versions
from vicur_vllm.limits import LIMITS, require_backend, require_limits

pytestmark = pytest.mark.vllm


@pytest.fixture
def config(first: Case, monkeypatch: pytest.MonkeyPatch) -> VllmConfig:
    """The configuration of an engine that takes a student."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    return _config(first)


def _config(case: Case, **arguments: Any) -> VllmConfig:
    return EngineArgs(str(case.folder), **{**engine_arguments(256), **arguments}).create_engine_config()


def _set(path: str, value: Any) -> Callable[[VllmConfig], None]:
    """Sets what this machine could not be configured with."""

    def change(config: VllmConfig) -> None:
        *parents, name = path.split(".")
        target: Any = config
        for parent in parents:
            target = getattr(target, parent)
        object.__setattr__(target, name, value)

    return change


BROKEN = [
    ("cache_config.enable_prefix_caching", True, "prefix caching"),
    ("scheduler_config.enable_chunked_prefill", True, "chunked prefill"),
    ("scheduler_config.long_prefill_token_threshold", 64, "threshold for long prompts"),
    ("scheduler_config.max_num_scheduled_tokens", 128, "wait forever"),
    ("scheduler_config.async_scheduling", True, "asynchronous scheduling"),
    ("scheduler_config.scheduler_cls", "some.Scheduler", "another scheduler"),
    ("compilation_config.mode", CompilationMode.VLLM_COMPILE, "torch.compile"),
    ("compilation_config.mode", CompilationMode.DYNAMO_TRACE_ONCE, "torch.compile"),
    ("compilation_config.cudagraph_mode", CUDAGraphMode.FULL, "CUDA graph of a prefill"),
    ("compilation_config.cudagraph_mode", CUDAGraphMode.PIECEWISE, "CUDA graph of a prefill"),
    ("compilation_config.cudagraph_mode", CUDAGraphMode.FULL_AND_PIECEWISE, "CUDA graph of a prefill"),
    ("compilation_config.cudagraph_mode", CUDAGraphMode.FULL_DECODE_ONLY, "decode steps"),
    ("parallel_config.pipeline_parallel_size", 2, "part of the layers"),
    ("parallel_config.prefill_context_parallel_size", 2, "part of the layers"),
    ("parallel_config.decode_context_parallel_size", 2, "part of the layers"),
    ("parallel_config.enable_dbo", True, "two halves"),
    ("parallel_config.data_parallel_size", 2, "data parallelism"),
    ("speculative_config", object(), "a draft"),
    ("lora_config", object(), "adapters"),
    ("kv_transfer_config", object(), "from elsewhere"),
    ("ec_transfer_config", object(), "from elsewhere"),
    ("quant_config", object(), "quantized"),
    ("cache_config.cache_dtype", "fp8", "keys and values of another type"),
    ("model_config.enable_prompt_embeds", True, "embeddings in place"),
    ("model_config.multimodal_config.enable_mm_embeds", True, "embeddings in place"),
    ("model_config.hf_config.images_barred", True, "barred"),
]


def test_the_arguments_for_a_student_are_within_the_limits(config: VllmConfig) -> None:
    require_limits(config)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    BROKEN,
    ids=lambda value: type(value).__name__ if type(value) is object else str(value)[:60],
)
def test_what_is_beyond_the_limits_is_refused(config: VllmConfig, path: str, value: Any, reason: str) -> None:
    _set(path, value)(config)
    with pytest.raises(VicurError, match=reason) as raised:
        require_limits(config)
    assert raised.value.remedy.startswith(("Pass", "Leave", "Use", "Evaluate"))


def test_videos_are_refused(config: VllmConfig) -> None:
    config.model_config.multimodal_config.limit_per_prompt = {}
    with pytest.raises(VicurError, match="videos were not checked"):
        require_limits(config)


def test_every_limit_has_a_test() -> None:
    reasons = [*(reason for _, _, reason in BROKEN), "videos"]
    assert [limit for limit in LIMITS if not any(reason in limit.problem for reason in reasons)] == []


def test_what_was_not_checked_can_be_allowed_by_name(config: VllmConfig) -> None:
    _set("compilation_config.cudagraph_mode", CUDAGraphMode.FULL_DECODE_ONLY)(config)
    config.additional_config = {"vicur": {"unchecked": ["decode_graphs"]}}
    require_limits(config)


def test_what_cannot_be_right_cannot_be_allowed(config: VllmConfig) -> None:
    config.additional_config = {"vicur": {"unchecked": ["prefix_caching"]}}
    with pytest.raises(VicurError, match="no unchecked setting 'prefix_caching'"):
        require_limits(config)


@pytest.mark.parametrize("name", ["FLASHINFER", "FLEX_ATTENTION"])
def test_an_attention_backend_that_was_not_read_is_refused(name: str) -> None:
    with pytest.raises(VicurError, match="--attention-backend"):
        require_backend(name)


def test_vllm_refuses_a_budget_below_the_longest_prompt(first: Case) -> None:
    with pytest.raises(ValueError, match="max_num_batched_tokens"):
        _config(first, max_num_batched_tokens=128)


@pytest.mark.parametrize("found", ["0.31.2", "0.33.0", "1.0", None])
def test_other_releases_of_vllm_are_refused(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    monkeypatch.setattr(versions, "_installed", lambda: found)
    with pytest.raises(VicurError, match=r"Install vllm<0\.33,>=0\.32"):
        register()


@pytest.mark.parametrize("found", ["0.32.0", "0.32.1"])
def test_the_checked_releases_are_taken(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(versions, "_installed", lambda: found)
    register()
