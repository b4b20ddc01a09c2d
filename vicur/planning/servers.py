"""Estimate the memory of the vLLM servers that start with a training."""

from __future__ import annotations

from vicur.planning.architecture import Architecture
from vicur.planning.inputs import PlanInput
from vicur.planning.model import Models, compute_bytes
from vicur.planning.parts import Memory, Part, Phase, nonzero
from vicur.planning.resident import engine_activations
from vicur.planning.sizes import Sizes


def server_memories(plan: PlanInput, models: Models) -> dict[str, Memory]:
    """Return the least memory that a GPU of each kind of server needs, by its part in the training.

    vLLM also fills what is left with its KV cache. It does not start if that cannot hold the longest sequence.
    """
    found: dict[str, Memory] = {}
    parts = {
        "rollout": (Phase.ROLLOUT, models.student, models.sizes, plan.rollout_tensor_parallel),
        "teacher": (Phase.TEACHER, models.teacher, models.teacher_sizes, plan.teacher_tensor_parallel),
    }
    for part in plan.server_gpus:
        phase, model, sizes, devices = parts[part]
        if sizes is not None:
            found[part] = {phase: nonzero(_server(plan, model, sizes, devices))}
    return found


def _server(plan: PlanInput, model: Architecture, sizes: Sizes, devices: int) -> dict[Part, int]:
    number, tokens = compute_bytes(plan), plan.max_prompt_tokens + plan.max_response_tokens
    # Devices divide the heads of keys and values. Those that outnumber the heads hold copies.
    heads = -(-model.key_value_heads // devices)
    return {
        Part.WEIGHTS: sizes.total * number // devices,
        Part.KV_CACHE: 2 * model.text.num_hidden_layers * heads * model.head_dim * tokens * number,
        Part.ACTIVATIONS: engine_activations(plan, model.text, devices),
    }
