"""A tiny but complete model."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save


def model_files(seed: int = 0) -> dict[str, bytes]:
    """Return the files of a repository on the Hub, including some that are never installed."""
    weight = torch.rand(64, 96, generator=torch.Generator().manual_seed(seed))
    return {
        "config.json": b'{"model_type": "qwen3_vl"}',
        "tokenizer_config.json": b"{}",
        "preprocessor_config.json": b"{}",
        "merges.txt": b"a b\n",
        "LICENSE": b"Apache-2.0\n",
        "model.safetensors": save({"weight": weight}),
        "pytorch_model.bin": b"\x80\x04pickled",
        "modeling_custom.py": b"raise SystemExit\n",
        "README.md": b"# A model\n",
    }


STAGED = {
    "config.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "merges.txt",
    "LICENSE",
    "model.safetensors",
    "vicur-model.json",
}
"""The files that are installed, and the record."""


def write_model(folder: Path, seed: int = 0) -> Path:
    """Write a model's files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in model_files(seed).items():
        (folder / name).write_bytes(content)
    return folder


def names_below(folder: Path) -> set[str]:
    """Return the names of all files below a folder, including hidden ones."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
