"""Settings that break cue recovery, or were not tested with it, are rejected at startup with reason and remedy."""

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
    """Return the configuration of an engine for a student."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    return _config(first)


def _config(case: Case, **arguments: Any) -> VllmConfig:
    return EngineArgs(str(case.folder), **{**engine_arguments(256), **arguments}).create_engine_config()


def _set(path: str, value: Any) -> Callable[[VllmConfig], None]:
    """Return a function that sets an attribute directly, as vLLM would reject some of the settings on this machine."""

    def change(config: VllmConfig) -> None:
        *parents, name = path.split(".")
        target: Any = config
        for parent in parents:
            target = getattr(target, parent)
        object.__setattr__(target, name, value)

    return change


VIOLATIONS = [
    ("cache_config.enable_prefix_caching", True, "prefix caching"),
    ("scheduler_config.enable_chunked_prefill", True, "chunked prefill"),
    ("scheduler_config.long_prefill_token_threshold", 64, "threshold is set above which long prompts are split"),
    ("scheduler_config.max_num_scheduled_tokens", 128, "wait forever"),
    ("scheduler_config.async_scheduling", True, "asynchronous scheduling"),
    ("scheduler_config.scheduler_cls", "some.Scheduler", "custom scheduler"),
    ("compilation_config.mode", CompilationMode.VLLM_COMPILE, "torch.compile"),
    ("compilation_config.mode", CompilationMode.DYNAMO_TRACE_ONCE, "torch.compile"),
    ("compilation_config.cudagraph_mode", CUDAGraphMode.FULL, "CUDA graphs are enabled for prefill"),
    ("compilation_config.cudagraph_mode", CUDAGraphMode.PIECEWISE, "CUDA graphs are enabled for prefill"),
    ("compilation_config.cudagraph_mode", CUDAGraphMode.FULL_AND_PIECEWISE, "CUDA graphs are enabled for prefill"),
    ("compilation_config.cudagraph_mode", CUDAGraphMode.FULL_DECODE_ONLY, "CUDA graphs are enabled for decode steps"),
    ("parallel_config.pipeline_parallel_size", 2, "part of the layers"),
    ("parallel_config.prefill_context_parallel_size", 2, "part of the layers"),
    ("parallel_config.decode_context_parallel_size", 2, "part of the layers"),
    ("parallel_config.enable_dbo", True, "microbatching"),
    ("parallel_config.data_parallel_size", 2, "data parallelism"),
    ("speculative_config", object(), "speculative decoding"),
    ("lora_config", object(), "LoRA"),
    ("kv_transfer_config", object(), "cache transfer"),
    ("ec_transfer_config", object(), "cache transfer"),
    ("quant_config", object(), "quantization"),
    ("cache_config.cache_dtype", "fp8", "dtype of the KV cache"),
    ("model_config.enable_prompt_embeds", True, "embeddings are accepted"),
    ("model_config.multimodal_config.enable_mm_embeds", True, "embeddings are accepted"),
    ("model_config.hf_config.images_barred", True, "images_barred"),
]


def test_the_arguments_for_a_student_are_within_the_limits(config: VllmConfig) -> None:
    require_limits(config)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    VIOLATIONS,
    ids=lambda value: type(value).__name__ if type(value) is object else str(value)[:60],
)
def test_a_violated_limit_is_rejected_with_reason_and_remedy(
    config: VllmConfig, path: str, value: Any, reason: str
) -> None:
    _set(path, value)(config)
    with pytest.raises(VicurError, match=reason) as raised:
        require_limits(config)
    assert raised.value.remedy.startswith(("Pass", "Remove", "Use", "Evaluate"))


def test_videos_are_rejected(config: VllmConfig) -> None:
    config.model_config.multimodal_config.limit_per_prompt = {}
    with pytest.raises(VicurError, match="videos are accepted"):
        require_limits(config)


def test_every_limit_has_a_test() -> None:
    reasons = [*(reason for _, _, reason in VIOLATIONS), "videos"]
    assert [limit for limit in LIMITS if not any(reason in limit.problem for reason in reasons)] == []


def test_an_untested_setting_can_be_allowed_by_name(config: VllmConfig) -> None:
    _set("compilation_config.cudagraph_mode", CUDAGraphMode.FULL_DECODE_ONLY)(config)
    config.additional_config = {"vicur": {"unchecked": ["decode_graphs"]}}
    require_limits(config)


def test_a_setting_that_cannot_work_cannot_be_allowed(config: VllmConfig) -> None:
    config.additional_config = {"vicur": {"unchecked": ["prefix_caching"]}}
    with pytest.raises(VicurError, match="'prefix_caching' is not a setting that can be allowed"):
        require_limits(config)


@pytest.mark.parametrize("name", ["FLASHINFER", "FLEX_ATTENTION"])
def test_an_unsupported_attention_backend_is_rejected(name: str) -> None:
    with pytest.raises(VicurError, match="--attention-backend"):
        require_backend(name)


def test_vllm_rejects_fewer_batched_tokens_than_the_longest_prompt(first: Case) -> None:
    with pytest.raises(ValueError, match="max_num_batched_tokens"):
        _config(first, max_num_batched_tokens=128)


@pytest.mark.parametrize("installed", ["0.31.2", "0.33.0", "1.0", None])
def test_unsupported_versions_of_vllm_are_rejected(monkeypatch: pytest.MonkeyPatch, installed: str | None) -> None:
    monkeypatch.setattr(versions, "_installed", lambda: installed)
    with pytest.raises(VicurError, match=r"Install vllm<0\.33,>=0\.32"):
        register()


@pytest.mark.parametrize("installed", ["0.32.0", "0.32.1"])
def test_supported_versions_of_vllm_are_accepted(monkeypatch: pytest.MonkeyPatch, installed: str) -> None:
    monkeypatch.setattr(versions, "_installed", lambda: installed)
    register()
