"""Worker extension of a rollout server that loads the trainer's weights from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from vicur.errors import VicurError
from vicur.modeling.weight_sums import Parts
from vicur_vllm.weights import AWAITED, held_parts, take_weights

EXCHANGE = "exchange"
"""Key in ``additional_config["vicur"]`` of the folder through which weights are exchanged."""


class TakesWeights:
    """Methods added to vLLM's worker by ``--worker-extension-cls vicur_vllm.worker.TakesWeights``."""

    vllm_config: Any
    get_model: Callable[[], Any]

    def vicur_take_weights(self, name: str) -> Parts:
        """Load this worker's parts of the weights in the file ``name`` of the exchange folder, as :meth:`vicur_held_weights` returns them.

        Raises:
            VicurError: if ``name`` contains a path, or the server is a teacher.
        """
        folder = Path(self.vllm_config.additional_config["vicur"][EXCHANGE])
        # A client must not be able to make the server read files outside of the exchange folder.
        if Path(name).name != name:
            raise VicurError(
                f"{name!r} is not the name of a file in the exchange folder.",
                where="vicur_take_weights",
                remedy="Write the file to the exchange folder and pass its name without a path.",
            )
        if self.vllm_config.load_config.load_format != AWAITED:
            raise VicurError(
                "this server was started with --teacher, so its weights cannot be replaced.",
                where="vicur_take_weights",
                remedy="Set training.rollout.engine.url to a server that was started without --teacher.",
            )
        return take_weights(self, load_file(folder / name).items())

    def vicur_held_weights(self) -> Parts:
        """Return checksums of the parts that this worker computes with, by the trainer's names."""
        return held_parts(self.get_model())
