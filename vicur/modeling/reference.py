"""Load students from the weights of the paper's published implementation (arXiv 2606.05718).

The reference stores the module in its patched text model, as ``sink_q_norm``, ``sink_kv_norm`` and
``sink_cross_attns.<layer>.<q|k|v|o>_proj``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from torch import Tensor
from transformers import Qwen3VLConfig

from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.modeling.student import Qwen3VLStudentConfig, Qwen3VLStudentForConditionalGeneration
from vicur.wording import listed

log = logging.getLogger(__name__)

_PREFIX = "model.language_model."
_NORMS = {"sink_q_norm.weight": "query_norm.weight", "sink_kv_norm.weight": "visual_norm.weight"}
_PROJECTIONS = {
    "q_proj.weight": "q_proj.weight",
    "k_proj.weight": "key_weight",
    "v_proj.weight": "value_weight",
    "o_proj.weight": "o_proj.weight",
}
_PROJECTION = re.compile(r"sink_cross_attns\.(\d+)\.(.+)")


def student_name(name: str) -> str:
    """Map the name of a reference weight to its name in our student. Names outside the module stay the same."""
    tail = name.removeprefix(_PREFIX)
    if tail in _NORMS:
        return f"model.cue_recovery.{_NORMS[tail]}"
    if (found := _PROJECTION.fullmatch(tail)) and found[2] in _PROJECTIONS:
        return f"model.cue_recovery.layers.{found[1]}.{_PROJECTIONS[found[2]]}"
    return name


def student_from_reference(
    config: Qwen3VLConfig, weights: Mapping[str, Tensor], settings: CueRecoverySettings
) -> Qwen3VLStudentForConditionalGeneration:
    """Build a student in evaluation mode from reference weights, among which a tied output layer may be missing.

    Raises:
        VicurError: if weights are missing, unexpected or of a different shape.
    """
    student_config = Qwen3VLStudentConfig.from_dict({**_without_type(config), "cue_recovery": settings.model_dump()})
    student = Qwen3VLStudentForConditionalGeneration(student_config)
    last = f"{_PREFIX}sink_cross_attns.{config.get_text_config().num_hidden_layers - 1}."
    # The reference also trains a module on the last layer, whose update of the sink no later layer can read.
    dropped = [name for name in weights if name.startswith(last)]
    if dropped:
        log.warning("Dropped the cue recovery module on the last decoder layer, which has no effect (%s*)", last)
    state = {student_name(name): tensor for name, tensor in weights.items() if name not in dropped}
    tied = {"lm_head.weight"} if student_config.tie_word_embeddings else set()
    try:
        missing, unexpected = student.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise VicurError(
            f"the weights do not fit the configuration ({error}).",
            remedy="Use the configuration that belongs to the weights.",
        ) from error
    if wrong := sorted({*unexpected, *missing} - tied):
        raise VicurError(
            f"the weights do not fit the configuration; missing or unexpected: {listed(wrong)}.",
            remedy="Use the configuration that belongs to the weights.",
        )
    student.tie_weights()
    student.train(mode=False)
    return student


def _without_type(config: Qwen3VLConfig) -> dict[str, object]:
    fields: dict[str, object] = config.to_dict()
    fields.pop("model_type")
    return fields
