"""Reject vLLM settings under which cue recovery would compute a different function than in training.

Some of them cannot work. Others probably work but were not tested: they can be allowed by name in vLLM's ``additional_config``, for example
``{"vicur": {"unchecked": ["decode_graphs"]}}``, after the parity tests have passed with them on the target machine (docs/vllm.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vllm.config import CompilationMode, CUDAGraphMode, VllmConfig

from vicur.errors import VicurError

PLACE = "student with cue recovery in vLLM"
"""``where`` of the errors that a student raises in vLLM."""


@dataclass(frozen=True)
class Limit:
    """Setting that students cannot run with."""

    name: str | None  # in "unchecked"; None if the setting cannot work
    violated: Callable[[VllmConfig], bool]
    problem: str
    remedy: str  # in terms of the arguments of `vllm serve`


def _compiles(config: VllmConfig) -> bool:
    return config.compilation_config.mode not in (None, CompilationMode.NONE)


def _graphs(config: VllmConfig) -> CUDAGraphMode:
    return config.compilation_config.cudagraph_mode or CUDAGraphMode.NONE


def _takes_videos(config: VllmConfig) -> bool:
    return bool(config.model_config.get_multimodal_config().get_limit_per_prompt("video"))


def _other_cache_type(config: VllmConfig) -> bool:
    return config.cache_config.cache_dtype not in ("auto", str(config.model_config.dtype).removeprefix("torch."))


def _contexts(config: VllmConfig) -> int:
    parallel = config.parallel_config
    return int(parallel.prefill_context_parallel_size * parallel.decode_context_parallel_size)


LIMITS = (
    Limit(
        None,
        lambda config: bool(config.cache_config.enable_prefix_caching),
        "prefix caching is enabled, so a prompt could reuse a sink that attended to the image of another prompt.",
        "Pass --no-enable-prefix-caching.",
    ),
    Limit(
        None,
        lambda config: bool(config.scheduler_config.enable_chunked_prefill),
        "chunked prefill is enabled, so a forward pass could end before the sink has attended to all images.",
        "Pass --no-enable-chunked-prefill, and --max-num-batched-tokens of at least --max-model-len.",
    ),
    Limit(
        None,
        lambda config: config.scheduler_config.long_prefill_token_threshold > 0,
        "a threshold is set above which long prompts are split.",
        "Remove --long-prefill-token-threshold.",
    ),
    Limit(
        None,
        lambda config: (
            (config.scheduler_config.max_num_scheduled_tokens or config.model_config.max_model_len)
            < config.model_config.max_model_len
        ),
        "the number of tokens per step is below the maximum model length, so longer prompts, which are not split, would wait forever.",
        "Remove --max-num-scheduled-tokens, or set it to at least --max-model-len.",
    ),
    Limit(
        None,
        lambda config: bool(config.scheduler_config.async_scheduling),
        "asynchronous scheduling is enabled, which splits a prompt before an image if the encoder cache is full.",
        "Pass --no-async-scheduling.",
    ),
    Limit(
        None,
        lambda config: config.scheduler_config.scheduler_cls is not None,
        "a custom scheduler is set, which may split prompts.",
        "Remove --scheduler-cls.",
    ),
    Limit(
        None,
        _compiles,
        "torch.compile is enabled, which would skip cue recovery, because it runs in hooks between the layers.",
        "Pass --enforce-eager, or --compilation-config '{\"mode\": 0}' if you want CUDA graphs for decode steps.",
    ),
    Limit(
        None,
        lambda config: _graphs(config) not in (CUDAGraphMode.NONE, CUDAGraphMode.FULL_DECODE_ONLY),
        "CUDA graphs are enabled for prefill, which would replay the sink positions of another batch.",
        "Pass --enforce-eager.",
    ),
    Limit(
        None,
        lambda config: config.parallel_config.pipeline_parallel_size > 1 or _contexts(config) > 1,
        "pipeline or context parallelism is enabled, so a rank would have only part of the layers or of the prompt.",
        "Use only --tensor-parallel-size.",
    ),
    Limit(
        None,
        lambda config: config.parallel_config.use_ubatching,
        "microbatching is enabled, and token positions in part of a batch differ from those in the whole batch.",
        "Remove --enable-dbo and --ubatch-size.",
    ),
    Limit(
        None,
        lambda config: config.speculative_config is not None,
        "speculative decoding is enabled, which would verify draft tokens against states without cue recovery.",
        "Remove --speculative-config.",
    ),
    Limit(
        None,
        lambda config: config.lora_config is not None,
        "LoRA is enabled, but cue recovery does not support adapters; those of a student are merged when it is saved.",
        "Remove --enable-lora.",
    ),
    Limit(
        None,
        lambda config: config.kv_transfer_config is not None or config.ec_transfer_config is not None,
        "cache transfer is enabled, so a prompt could receive a sink that attended to other images.",
        "Remove --kv-transfer-config and --ec-transfer-config.",
    ),
    Limit(
        None,
        lambda config: (
            bool(config.model_config.enable_prompt_embeds)
            or bool(config.model_config.get_multimodal_config().enable_mm_embeds)
        ),
        "embeddings are accepted as inputs, but they do not show which positions are visual tokens.",
        "Remove --enable-prompt-embeds and --enable-mm-embeds.",
    ),
    Limit(
        None,
        _takes_videos,
        "videos are accepted as inputs, but students are trained on images only.",
        "Pass --limit-mm-per-prompt '{\"video\": 0}'.",
    ),
    Limit(
        None,
        lambda config: bool(getattr(config.model_config.hf_config, "images_barred", False)),
        "the model was saved with images_barred, which requires an attention mask that vLLM does not support.",
        "Evaluate it with vicur evaluate.",
    ),
    Limit(
        "decode_graphs",
        lambda config: _graphs(config) == CUDAGraphMode.FULL_DECODE_ONLY,
        "CUDA graphs are enabled for decode steps, which was not tested.",
        "Pass --enforce-eager.",
    ),
    Limit(
        "data_parallel",
        lambda config: config.parallel_config.data_parallel_size > 1,
        "data parallelism is enabled, which was not tested.",
        "Pass --data-parallel-size 1 and start several servers instead.",
    ),
    Limit(
        "quantization",
        lambda config: config.quant_config is not None,
        "quantization is enabled, which was not tested.",
        "Remove --quantization.",
    ),
    Limit(
        "cache_dtype",
        _other_cache_type,
        "the dtype of the KV cache differs from that of the model, which was not tested.",
        "Remove --kv-cache-dtype.",
    ),
)


BACKENDS = ("CPU_ATTN", "FLASH_ATTN", "TRITON_ATTN")
"""Supported attention backends. The first is tested; the others provide the same metadata."""


def require_limits(config: VllmConfig) -> None:
    """Raise :class:`VicurError` for the first limit that an engine's configuration violates, or for an unknown name in ``unchecked``."""
    allowed = set(_unchecked(config))
    unknown = allowed - {limit.name for limit in LIMITS}
    if unknown:
        raise VicurError(
            f"{min(unknown)!r} is not a setting that can be allowed.",
            where="--additional-config, vicur.unchecked",
            remedy=f"Use names from {', '.join(sorted(limit.name for limit in LIMITS if limit.name))}.",
        )
    for limit in LIMITS:
        if limit.name not in allowed and limit.violated(config):
            config_json = f'{{"vicur": {{"unchecked": ["{limit.name}"]}}}}'
            allow = (
                f" Or run the parity tests with it (docs/vllm.md), then allow it with --additional-config '{config_json}'."
                if limit.name
                else ""
            )
            raise VicurError(limit.problem, where=PLACE, remedy=limit.remedy + allow)


def require_backend(name: str) -> None:
    """Raise :class:`VicurError` for an attention backend whose metadata may not contain the boundaries of requests."""
    if name not in BACKENDS:
        raise VicurError(
            f"the attention backend {name} is not supported, because its metadata may not contain the boundaries of requests.",
            where=PLACE,
            remedy=f"Pass --attention-backend with one of {', '.join(BACKENDS)}.",
        )


def _unchecked(config: VllmConfig) -> list[str]:
    additional = config.additional_config
    return list(additional.get("vicur", {}).get("unchecked", ())) if isinstance(additional, dict) else []
