"""Look up the architecture of a model by its checkpoint folder or by a published size such as ``8B``.

``qwen3_vl.json`` holds the published sizes with their source. No weights are read and nothing is downloaded.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import Qwen3VLConfig
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig, Qwen3VLVisionConfig

from vicur.config.base import model_folder
from vicur.config.model_address import ClaimAddress, ModelAddress, model_address
from vicur.errors import VicurError
from vicur.modeling import Qwen3VLStudentConfig

_TABLE = Path(__file__).with_name("qwen3_vl.json")
_SIZE_IN_NAME = re.compile(r"(?<![0-9.])(\d+B)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Architecture:
    """A backbone to plan for."""

    name: str  # of the published model, or the path of the folder
    config: Qwen3VLConfig  # of the backbone, without cue recovery
    # The folder that the user named, if it does not exist and the published model of the same size is used instead.
    absent: str | None = None

    @property
    def text(self) -> Qwen3VLTextConfig:
        config = self.config.text_config
        # transformers annotates it as PreTrainedConfig.
        assert isinstance(config, Qwen3VLTextConfig)
        return config

    @property
    def vision(self) -> Qwen3VLVisionConfig:
        config = self.config.vision_config
        assert isinstance(config, Qwen3VLVisionConfig)
        return config

    @property
    def head_dim(self) -> int:
        """Size of an attention head of the text backbone."""
        return self.text.head_dim or self.text.hidden_size // self.text.num_attention_heads

    @property
    def key_value_heads(self) -> int:
        return self.text.num_key_value_heads or self.text.num_attention_heads

    @property
    def patch_values(self) -> int:
        """Number of values in a patch of pixels."""
        patch = self.vision.patch_size
        assert isinstance(patch, int)
        return int(self.vision.in_channels) * int(str(self.vision.temporal_patch_size)) * patch**2

    @property
    def pixels_per_token(self) -> int:
        """Pixels of a resized image that become one visual token."""
        return int(str(self.vision.patch_size)) ** 2 * int(self.vision.spatial_merge_size) ** 2


def published_sizes() -> dict[str, int]:
    """Return the parameter count of each published model by its size ("2B", ...). Tied parameters count once."""
    return {size: int(entry["parameters"]) for size, entry in _read()["sizes"].items()}


def published_config(size: str) -> Qwen3VLConfig:
    """Return the configuration of the published Qwen3-VL-Instruct of a size in :func:`published_sizes`."""
    table = _read()
    common, entry = table["common"], table["sizes"][size]
    fields: dict[str, Any] = {name: value for name, value in common.items() if name.endswith("_id")}
    tied = entry["tie_word_embeddings"]
    fields["text_config"] = {**common["text_config"], **entry["text_config"], "tie_word_embeddings": tied}
    fields["vision_config"] = {**common["vision_config"], **entry["vision_config"]}
    return Qwen3VLConfig(**fields, tie_word_embeddings=tied)


def architecture_of(model: str) -> Architecture:
    """Return the architecture of ``model``: a published size ("8B"), ``tiny``, or a checkpoint folder.

    Raises:
        VicurError: if the folder does not exist and its name does not contain exactly one published size.
    """
    if model.upper() in published_sizes():
        return Architecture(f"Qwen3-VL-{model.upper()}", published_config(model.upper()))
    name, folder = _named(model)
    path = folder / "config.json" if folder is not None else None
    if path is not None and path.is_file():
        return Architecture(model, _config_in(path))
    # A folder on the cluster can be planned for on a laptop, as long as its name says which published model it holds.
    sizes = [size.upper() for size in _SIZE_IN_NAME.findall(name) if size.upper() in published_sizes()]
    if len(sizes) == 1:
        return Architecture(f"Qwen3-VL-{sizes[0]}", published_config(sizes[0]), absent=model)
    reason = f"contains several published sizes ({', '.join(sizes)})" if sizes else "contains no published size"
    raise VicurError(
        f"there is no config.json of this model here, and its name {reason}.",
        where=model,
        remedy=f"Give the path of a checkpoint folder, or one of {', '.join(published_sizes())}.",
    )


def _named(model: str) -> tuple[str, Path | None]:
    """Return the name of a model, and the folder that it may be in on this machine."""
    try:
        address = model_address(model)
    except ValueError as error:
        raise VicurError(f"{error}.", where=model, remedy="Correct the address.") from error
    if isinstance(address, ModelAddress):
        # A revision would be searched for a size, too.
        return address.name, model_folder(model) if address.revision else None
    if isinstance(address, ClaimAddress):
        return Path(address.path).name, None
    return Path(model).name, model_folder(model)


def _read() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return table


def _config_in(path: Path) -> Qwen3VLConfig:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise VicurError(
            f"the file is not valid JSON ({error}).", where=str(path), remedy="Copy or download the checkpoint again."
        ) from error
    kind = fields.pop("model_type", None)
    if kind not in (Qwen3VLConfig.model_type, Qwen3VLStudentConfig.model_type):
        raise VicurError(
            f"model_type is {kind!r}, but only {Qwen3VLConfig.model_type!r} and {Qwen3VLStudentConfig.model_type!r} can be planned for.",
            where=str(path),
            remedy="Use a Qwen3-VL checkpoint.",
        )
    for ours in ("cue_recovery", "im_start_token_id", "architectures"):
        fields.pop(ours, None)
    config: Qwen3VLConfig = Qwen3VLConfig.from_dict(fields)
    return config
