"""Prints the prompts that the harness builds for a benchmark's file, as JSON. Runs in its environment: FILE HARNESS-NAME.

Images are printed as the SHA-256 of their pixels, videos by their name.
"""

import hashlib
import importlib
import json
import os
import sys
from pathlib import Path

file, name = Path(sys.argv[1]), sys.argv[2]
worker = Path(sys.argv[3])
os.environ["LMUData"] = str(file.parent)  # noqa: SIM112 (its name)
sys.path.insert(0, str(worker.parent))
importlib.import_module("harness_worker")._load_torchvision()
Image = importlib.import_module("PIL.Image")
modules = {
    "MathVista_MINI": ("image_vqa", "MathVista"),
    "MathVerse_MINI": ("image_vqa", "MathVerse"),
    "DynaMath": ("dynamath", "Dynamath"),
    "WeMath": ("image_mcq", "WeMath"),
    "MMMU_DEV_VAL": ("image_mcq", "MMMUDataset"),
    "Video-MME": ("videomme", "VideoMME"),
}
module, kind = modules[name]
importlib.import_module("vlmeval.dataset")
kind = getattr(importlib.import_module(f"vlmeval.dataset.{module}"), kind)
if name == "Video-MME":
    data = object.__new__(kind)
    data.data = importlib.import_module("pandas").read_csv(file, sep="\t")
    data.data_root, data.use_subtitle = str(file.parent), False
    built = [data.build_prompt(data.data.iloc[n], True) for n in range(len(data.data))]
else:
    kind.DATASET_MD5 = {}
    data = kind(name)
    built = [data.build_prompt(data.data.iloc[n]) for n in range(len(data.data))]


def shown(part: dict[str, str]) -> str:
    if part["type"] == "text":
        return f"text {part['value']}"
    if part["type"] == "video":
        return f"video {Path(part['value']).name}"
    image = Image.open(part["value"]).convert("RGB")
    return f"image {hashlib.sha256(image.tobytes()).hexdigest()}"


rows = {str(data.data.iloc[n]["index"]): [shown(part) for part in parts] for n, parts in enumerate(built)}
(file.parent / "prompts.json").write_text(json.dumps(rows))
