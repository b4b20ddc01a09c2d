"""Which architecture a plan is for: a folder's own, or one that was published, by its size.

``qwen3_vl.json`` holds the published sizes with their source; no weights are read, and nothing is downloaded.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import Qwen3VLConfig
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig, Qwen3VLVisionConfig

from vicur.config.base import BaseModelConfig
from vicur.errors import VicurError
from vicur.modeling import Qwen3VLStudentConfig

_TABLE = Path(__file__).with_name("qwen3_vl.json")
_SIZE_IN_NAME = re.compile(r"(?<![0-9.])(\d+B)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Architecture:
    """A backbone to plan for.

    Attributes:
        name: what to call it: the published model, or the folder.
        config: the backbone's configuration, without cue recovery.
        absent: the folder that was named and is not here; the published model of its size stands in for it.
    """

    name: str
    config: Qwen3VLConfig
    absent: str | None = None

    @property
    def text(self) -> Qwen3VLTextConfig:
        """Configuration of the text backbone (transformers types it as any configuration)."""
        config = self.config.text_config
        assert isinstance(config, Qwen3VLTextConfig)
        return config

    @property
    def vision(self) -> Qwen3VLVisionConfig:
        """Configuration of the vision tower."""
        config = self.config.vision_config
        assert isinstance(config, Qwen3VLVisionConfig)
        return config

    @property
    def head_dim(self) -> int:
        """Numbers of an attention head of the text backbone."""
        return self.text.head_dim or self.text.hidden_size // self.text.num_attention_heads

    @property
    def key_value_heads(self) -> int:
        """Heads of the text backbone's keys and values."""
        return self.text.num_key_value_heads or self.text.num_attention_heads

    @property
    def patch_numbers(self) -> int:
        """Numbers of a patch of pixels."""
        patch = self.vision.patch_size
        assert isinstance(patch, int)
        return int(self.vision.in_channels) * int(str(self.vision.temporal_patch_size)) * patch**2


def published_sizes() -> dict[str, int]:
    """Parameters of the published models by size ("2B", ...), tied ones once."""
    return {size: int(entry["parameters"]) for size, entry in _read()["sizes"].items()}


def published_config(size: str) -> Qwen3VLConfig:
    """Configuration of the published Qwen3-VL-Instruct of a size in :func:`published_sizes`."""
    table = _read()
    common, entry = table["common"], table["sizes"][size]
    fields: dict[str, Any] = {name: value for name, value in common.items() if name.endswith("_id")}
    tied = entry["tie_word_embeddings"]
    fields["text_config"] = {**common["text_config"], **entry["text_config"], "tie_word_embeddings": tied}
    fields["vision_config"] = {**common["vision_config"], **entry["vision_config"]}
    return Qwen3VLConfig(**fields, tie_word_embeddings=tied)


def architecture_of(model: str) -> Architecture:
    """The architecture that ``model`` names.

    Args:
        model: a published size ("8B"), ``tiny``, or a checkpoint's folder. A folder that is not on this machine is taken for the
            published model whose size stands in its name, so that a cluster's run can be planned on a laptop.

    Raises:
        VicurError: where it names none.
    """
    if model.upper() in published_sizes():
        return Architecture(f"Qwen3-VL-{model.upper()}", published_config(model.upper()))
    path = BaseModelConfig(path=model).folder / "config.json"
    if path.is_file():
        return Architecture(model, _config_in(path))
    found = [size.upper() for size in _SIZE_IN_NAME.findall(Path(model).name) if size.upper() in published_sizes()]
    if len(found) == 1:
        return Architecture(f"Qwen3-VL-{found[0]}", published_config(found[0]), absent=model)
    raise VicurError(
        "is no folder with a config.json, and its name holds no published size.",
        where=model,
        remedy=f"Name a checkpoint's folder, or one of {', '.join(published_sizes())}.",
    )


def _read() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return table


def _config_in(path: Path) -> Qwen3VLConfig:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise VicurError("is not JSON.", where=str(path), remedy="Copy or download the checkpoint again.") from error
    kind = fields.pop("model_type", None)
    if kind not in (Qwen3VLConfig.model_type, Qwen3VLStudentConfig.model_type):
        raise VicurError(f"has model type {kind!r}.", where=str(path), remedy="Name a Qwen3-VL checkpoint.")
    for ours in ("cue_recovery", "im_start_token_id", "architectures"):
        fields.pop(ours, None)
    config: Qwen3VLConfig = Qwen3VLConfig.from_dict(fields)
    return config
