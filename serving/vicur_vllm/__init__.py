"""vLLM plugin for students with cue recovery: an out-of-tree model, loaded through vLLM's entry point ``vllm.general_plugins``.

vLLM is not patched. The model subclasses vLLM's Qwen3-VL and takes the boundaries of requests, the computed part of each request and the
places of images from the metadata that vLLM passes to every model. Configurations under which cue recovery would compute a different
function than in training are rejected at startup (:mod:`vicur_vllm.limits`).
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
    """Register students with vLLM, which calls this function in each of its processes.

    Raises:
        VicurError: if the installed version of vLLM is not supported.
    """
    require_version()
    # Imported here because they are slow to import, and because `vicur serve --dry-run` uses this package without vLLM.
    from vllm import ModelRegistry
    from vllm.renderers.registry import RENDERER_REGISTRY
    from vllm.tokenizers.registry import TokenizerRegistry

    import vicur.modeling  # noqa: F401 (registers the students' configuration with transformers)
    import vicur_vllm.media
    import vicur_vllm.weights  # noqa: F401 (registers its load format with vLLM)

    ModelRegistry.register_model(
        "Qwen3VLStudentForConditionalGeneration", "vicur_vllm.model:Qwen3VLStudentForConditionalGeneration"
    )
    for name in ("Student", "Backbone"):
        ModelRegistry.register_model(f"VicurServed{name}", f"vicur_vllm.served:Served{name}")
    TokenizerRegistry.register("vicur", "vllm.tokenizers.hf", "CachedHfTokenizer")
    RENDERER_REGISTRY.register("vicur", "vicur_vllm.renderer", "StudentRenderer")
