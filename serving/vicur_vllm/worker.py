"""What a server's workers can do beside answering: take a training's weights from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from vicur.errors import VicurError
from vicur.modeling.weight_sums import weight_sums
from vicur_vllm.weights import AWAITED, held_weights, take_weights

EXCHANGE = "exchange"
"""In ``additional_config["vicur"]``: the folder that weights come through."""


class TakesWeights:
    """Methods for vLLM's worker (``--worker-extension-cls vicur_vllm.worker.TakesWeights``)."""

    vllm_config: Any
    get_model: Callable[[], Any]

    def vicur_take_weights(self, name: str) -> dict[str, int]:
        """Takes all weights from a file in the server's own exchange folder.

        Args:
            name: the file's name, without a folder: a server reads no other place.

        Returns:
            Sums of what the model computes with now, by the trainer's names.

        Raises:
            VicurError: for a name with a folder in it, where the model is spread over several devices, and at a teacher's server.
        """
        folder = Path(self.vllm_config.additional_config["vicur"][EXCHANGE])
        if Path(name).name != name:
            raise VicurError(
                f"{name!r} is no file's name.", where="vicur_take_weights", remedy="Put it into the exchange folder."
            )
        self._require_whole()
        if self.vllm_config.load_config.load_format != AWAITED:
            raise VicurError(
                "this server scores for a teacher, whose weights stay as they are.",
                where="vicur_take_weights",
                remedy="Name another server for the rollouts, one that was started without --teacher.",
            )
        self._vicur_given = name
        return take_weights(self, load_file(folder / name).items())

    def vicur_given(self) -> str | None:
        """Name of the file that weights were last taken from; none where there were none yet."""
        return getattr(self, "_vicur_given", None)

    def vicur_held_weights(self) -> dict[str, int]:
        """Sums of what the model computes with, by the trainer's names.

        Raises:
            VicurError: where the model is spread over several devices.
        """
        self._require_whole()
        return weight_sums(held_weights(self.get_model()))

    def _require_whole(self) -> None:
        if self.vllm_config.parallel_config.world_size > 1:
            raise VicurError(
                "each device holds a part of the weights, and sums of parts were not checked.",
                where="a rollout server",
                remedy="Start it with --tensor-parallel-size 1.",
            )
