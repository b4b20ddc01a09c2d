"""A model that is small enough to be staged in a test, and whole enough to be one."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save


def model_files(seed: int = 0) -> dict[str, bytes]:
    """Files of a repository on the Hub, those that are not staged among them."""
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
"""What of them is staged, and the record."""


def write_model(folder: Path, seed: int = 0) -> Path:
    """Writes a model's files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in model_files(seed).items():
        (folder / name).write_bytes(content)
    return folder


def names_below(folder: Path) -> set[str]:
    """Files below a folder, hidden ones too."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
