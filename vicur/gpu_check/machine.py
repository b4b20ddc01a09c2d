"""The machine that is checked: its devices and their peak speed."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

# Dense bfloat16 peaks in TFLOPS, from NVIDIA's data sheets, by a part of the device's name. The first match counts.
_PEAKS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
}
_SIDE = {"cuda": 8192, "cpu": 768}


@dataclass(frozen=True)
class Machine:
    """Devices of a machine."""

    device: Literal["cpu", "cuda"]
    name: str
    count: int  # GPUs; 0 on a CPU
    memory: int  # bytes of one GPU
    peak_tflops: float
    peak_source: str  # where the peak is from
    software: str


def machine_of(device: Literal["cpu", "cuda"]) -> Machine:
    """Return what this machine has. The peak of a GPU that is not in the table, and of a CPU, is that of a large matrix product."""
    software = f"torch {torch.__version__}, Python {platform.python_version()}"
    if device == "cpu":
        peak = _product_tflops("cpu", torch.float32)
        return Machine("cpu", _cpu_name(), 0, 0, peak, "measured float32 product, one thread", software)
    properties = torch.cuda.get_device_properties(0)
    known = next((peak for part, peak in _PEAKS.items() if part in properties.name), None)
    source = "data sheet, dense bfloat16" if known else "measured bfloat16 product"
    peak = known or _product_tflops("cuda", torch.bfloat16)
    count, memory = torch.cuda.device_count(), int(properties.total_memory)
    return Machine("cuda", properties.name, count, memory, peak, source, f"{software}, CUDA {torch.version.cuda}")


def _product_tflops(device: str, dtype: torch.dtype) -> float:
    """Measure the fastest of five products of two large square matrices."""
    side, threads = _SIDE[device], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        a_NN = torch.randn(side, side, device=device, dtype=dtype)
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            a_NN @ a_NN
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return 2 * side**3 / min(seconds) / 1e12


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "CPU"
