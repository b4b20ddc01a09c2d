"""Students with cue recovery in vLLM: an out-of-tree model, found through vLLM's entry point ``vllm.general_plugins``.

vLLM itself stays as it is. The model subclasses its Qwen3-VL; where a request begins, how much of it a forward holds and where its images
are is read from what vLLM tells its own models; what would make the module compute another function than
in training is refused at start (:mod:`vicur_vllm.limits`).
"""

from __future__ import annotations

from vicur_vllm.arguments import engine_arguments, scoring_arguments
from vicur_vllm.server import ServerCommand, server_command
from vicur_vllm.versions import require_version

__all__ = [
    "ServerCommand",
    "engine_arguments",
    "register",
    "require_version",
    "scoring_arguments",
    "server_command",
]


def register() -> None:
    """Makes students known to vLLM, which calls this in each of its processes.

    Raises:
        VicurError: where the installed vLLM is another than the one that was checked.
    """
    require_version()
    # Both are heavy, and the second exists only where vLLM does.
    from vllm import ModelRegistry
    from vllm.renderers.registry import RENDERER_REGISTRY
    from vllm.tokenizers.registry import TokenizerRegistry

    import vicur.modeling  # noqa: F401 (makes their configuration known to transformers)
    import vicur_vllm.media
    import vicur_vllm.weights  # noqa: F401 (makes its load format known to vLLM)

    ModelRegistry.register_model(
        "Qwen3VLStudentForConditionalGeneration", "vicur_vllm.model:Qwen3VLStudentForConditionalGeneration"
    )
    for name in ("Student", "Backbone"):
        ModelRegistry.register_model(f"VicurServed{name}", f"vicur_vllm.served:Served{name}")
    TokenizerRegistry.register("vicur", "vllm.tokenizers.hf", "CachedHfTokenizer")
    RENDERER_REGISTRY.register("vicur", "vicur_vllm.renderer", "StudentRenderer")
