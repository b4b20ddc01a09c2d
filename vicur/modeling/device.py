"""The device that a stage computes on."""

from __future__ import annotations

from typing import Literal

import torch

from vicur.errors import VicurError


def resolve_device(setting: Literal["auto", "cpu", "cuda"], where: str) -> Literal["cpu", "cuda"]:
    """Return the device for the setting named ``where``: ``auto`` uses a GPU if there is one.

    Raises:
        VicurError: if the setting is ``cuda`` on a machine without GPU.
    """
    available = torch.cuda.is_available()
    if setting == "cuda" and not available:
        raise VicurError(
            "the device is cuda, but this machine has no GPU that PyTorch can use.",
            where=where,
            remedy=f"Set {where} to auto or cpu, or run on a machine with a GPU.",
        )
    return "cuda" if available and setting != "cpu" else "cpu"
