"""Measured speeds of a machine, from a file of ``vicur gpu-check``, for the times of a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from vicur.config.section import Section
from vicur.config.validation import validated
from vicur.errors import VicurError


class Calibration(Section):
    """Speeds that a check of a machine has measured."""

    device: str = Field(min_length=1)
    """Name of its GPU or CPU."""
    peak_tflops: float = Field(gt=0)
    """TFLOPS that ``utilisation`` is a share of."""
    utilisation: float = Field(gt=0, le=1)
    """Share of them that scoring and training reached."""
    decode_overhead_ms: float = Field(ge=0)
    """Milliseconds of a decoding step."""

    def hardware(self) -> dict[str, Any]:
        """Return the fields of :class:`~vicur.planning.inputs.Hardware` that were measured."""
        return {"calibrated_on": self.device, **self.model_dump(exclude={"device"})}


def read_calibration(path: Path, option: str) -> Calibration:
    """Read the calibration in a file of ``vicur gpu-check``.

    Raises:
        VicurError: if the file cannot be read or its check measured no speeds.
    """
    remedy = "Name a gpu-check.json that 'vicur gpu-check' wrote on a machine that finished its measurement."
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise VicurError(f"{path} cannot be read: {reason}.", where=option, remedy=remedy) from error
    values = record.get("calibration") if isinstance(record, dict) else None
    if not values:
        raise VicurError(f"{path} has no measured speeds.", where=option, remedy=remedy)
    calibration: Calibration = validated(Calibration, values, option)
    return calibration
