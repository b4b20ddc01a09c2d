"""What a student cannot be run with: settings of vLLM under which cue recovery would compute another function than in training.

Some can never be right. Others should be, but nobody checked; their names may be listed in vLLM's ``additional_config``, once the parity
suite has passed with them where they are to be used (docs/vllm.md): ``{"vicur": {"unchecked": ["decode_graphs"]}}``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vllm.config import CompilationMode, CUDAGraphMode, VllmConfig

from vicur.errors import VicurError


@dataclass(frozen=True)
class Limit:
    """One thing that a student is not run with.

    Attributes:
        name: what ``unchecked`` calls it; none where it cannot be right.
        broken: whether a configuration has it.
        problem: what is wrong with it.
        remedy: which argument of ``vllm serve`` mends it.
    """

    name: str | None
    broken: Callable[[VllmConfig], bool]
    problem: str
    remedy: str


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
        "prefix caching would hand a sink that has seen one image to a prompt with another.",
        "Pass --no-enable-prefix-caching.",
    ),
    Limit(
        None,
        lambda config: bool(config.scheduler_config.enable_chunked_prefill),
        "chunked prefill would end a forward before the sink has seen all images.",
        "Pass --no-enable-chunked-prefill, and --max-num-batched-tokens of at least --max-model-len.",
    ),
    Limit(
        None,
        lambda config: config.scheduler_config.long_prefill_token_threshold > 0,
        "a threshold for long prompts would split them.",
        "Leave out --long-prefill-token-threshold.",
    ),
    Limit(
        None,
        lambda config: (
            (config.scheduler_config.max_num_scheduled_tokens or config.model_config.max_model_len)
            < config.model_config.max_model_len
        ),
        "a prompt longer than the tokens of a step would wait forever, since it is not split.",
        "Leave out --max-num-scheduled-tokens, or set at least --max-model-len.",
    ),
    Limit(
        None,
        lambda config: bool(config.scheduler_config.async_scheduling),
        "asynchronous scheduling can leave no room for an image in the encoder's cache, and a prompt is then split before it.",
        "Pass --no-async-scheduling.",
    ),
    Limit(
        None,
        lambda config: config.scheduler_config.scheduler_cls is not None,
        "another scheduler may split prompts.",
        "Leave out --scheduler-cls.",
    ),
    Limit(
        None,
        _compiles,
        "cue recovery acts in hooks between the layers, which torch.compile would leave out.",
        "Pass --enforce-eager, or for CUDA graphs of decode steps --compilation-config '{\"mode\": 0}'.",
    ),
    Limit(
        None,
        lambda config: _graphs(config) not in (CUDAGraphMode.NONE, CUDAGraphMode.FULL_DECODE_ONLY),
        "a CUDA graph of a prefill would repeat the positions of another batch.",
        "Pass --enforce-eager.",
    ),
    Limit(
        None,
        lambda config: config.parallel_config.pipeline_parallel_size > 1 or _contexts(config) > 1,
        "a stage or rank would hold a part of the layers or of the prompt that cue recovery needs whole.",
        "Use --tensor-parallel-size alone.",
    ),
    Limit(
        None,
        lambda config: config.parallel_config.use_ubatching,
        "a batch in two halves has other positions than the whole.",
        "Leave out --enable-dbo and --ubatch-size.",
    ),
    Limit(
        None,
        lambda config: config.speculative_config is not None,
        "a draft's tokens would be checked against states that cue recovery did not see.",
        "Leave out --speculative-config.",
    ),
    Limit(
        None,
        lambda config: config.lora_config is not None,
        "adapters are merged into a student when it is saved; cue recovery takes none.",
        "Leave out --enable-lora.",
    ),
    Limit(
        None,
        lambda config: config.kv_transfer_config is not None or config.ec_transfer_config is not None,
        "keys and values that come from elsewhere are a prefix whose sink saw other images.",
        "Leave out --kv-transfer-config and --ec-transfer-config.",
    ),
    Limit(
        None,
        lambda config: (
            bool(config.model_config.enable_prompt_embeds)
            or bool(config.model_config.get_multimodal_config().enable_mm_embeds)
        ),
        "embeddings in place of tokens and images do not say what is an image.",
        "Leave out --enable-prompt-embeds and --enable-mm-embeds.",
    ),
    Limit(
        None,
        _takes_videos,
        "students are trained on images; videos were not checked.",
        "Pass --limit-mm-per-prompt '{\"video\": 0}'.",
    ),
    Limit(
        None,
        lambda config: bool(getattr(config.model_config.hf_config, "images_barred", False)),
        "a model whose images are barred from its text needs a mask that vLLM does not have.",
        "Evaluate it with vicur.",
    ),
    Limit(
        "decode_graphs",
        lambda config: _graphs(config) == CUDAGraphMode.FULL_DECODE_ONLY,
        "CUDA graphs of decode steps were not checked.",
        "Pass --enforce-eager.",
    ),
    Limit(
        "data_parallel",
        lambda config: config.parallel_config.data_parallel_size > 1,
        "data parallelism was not checked.",
        "Pass --data-parallel-size 1, and start several servers.",
    ),
    Limit(
        "quantization",
        lambda config: config.quant_config is not None,
        "quantized weights were not checked.",
        "Leave out --quantization.",
    ),
    Limit(
        "cache_dtype",
        _other_cache_type,
        "keys and values of another type than the model's were not checked.",
        "Leave out --kv-cache-dtype.",
    ),
)


BACKENDS = ("CPU_ATTN", "FLASH_ATTN", "TRITON_ATTN")
"""Attention backends that students run with. The first was checked; the others give the same metadata."""


def require_limits(config: VllmConfig) -> None:
    """Holds an engine to the limits.

    Raises:
        VicurError: at the first that its configuration breaks, and for a name in ``unchecked`` that there is not.
    """
    allowed = set(_unchecked(config))
    unknown = allowed - {limit.name for limit in LIMITS}
    if unknown:
        raise VicurError(
            f"there is no unchecked setting {min(unknown)!r}.",
            where="additional_config.vicur.unchecked",
            remedy=f"Name some of {', '.join(sorted(limit.name for limit in LIMITS if limit.name))}.",
        )
    for limit in LIMITS:
        if limit.name not in allowed and limit.broken(config):
            unless = (
                f' Or run the parity suite with it, then allow it: --additional-config \'{{"vicur": {{"unchecked": ["{limit.name}"]}}}}\'.'
                if limit.name
                else ""
            )
            raise VicurError(limit.problem, where="a student with cue recovery in vLLM", remedy=limit.remedy + unless)


def require_backend(name: str) -> None:
    """Holds an engine to attention backends whose metadata says where each request begins.

    Raises:
        VicurError: for another.
    """
    if name not in BACKENDS:
        raise VicurError(
            f"the attention backend {name} does not say where each request begins.",
            where="a student with cue recovery in vLLM",
            remedy=f"Pass --attention-backend with one of {', '.join(BACKENDS)}.",
        )


def _unchecked(config: VllmConfig) -> list[str]:
    additional = config.additional_config
    return list(additional.get("vicur", {}).get("unchecked", ())) if isinstance(additional, dict) else []
