"""Files by which transformers' ``AutoProcessor`` finds the processor of a student without this package.

It derives the classes of a checkpoint from the model's type. That of a student with cue recovery is known only where
``vicur.modeling`` is imported. Elsewhere it would silently return the tokenizer alone, which ignores images, so the files of such a student
name the classes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vicur.errors import VicurError
from vicur.modeling.videos import SETTINGS_FILE

_PROCESSOR, _IMAGES = "processor_config.json", "preprocessor_config.json"
_PROCESSOR_CLASS, _VIDEO_CLASS = "Qwen3VLProcessor", "Qwen3VLVideoProcessor"


def name_processor(folder: Path) -> None:
    """Name the classes of Qwen3-VL's processors in a checkpoint's files. Settings stay as they are.

    Raises:
        VicurError: if a file of the processors is not valid.
    """
    processor = _read(folder / _PROCESSOR)
    if processor.get("processor_class") != _PROCESSOR_CLASS:
        _write({**processor, "processor_class": _PROCESSOR_CLASS}, folder / _PROCESSOR)
    # Newer checkpoints hold the settings of videos in the processor's file.
    if "video_processor" in processor:
        return
    videos = _read(folder / SETTINGS_FILE)
    if "video_processor_type" not in videos:
        # Without a file of their own, videos have the settings of images.
        settings = videos or {k: v for k, v in _read(folder / _IMAGES).items() if k != "image_processor_type"}
        _write({**settings, "video_processor_type": _VIDEO_CLASS}, folder / SETTINGS_FILE)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        content, problem = None, str(error)
    else:
        problem = "it is not a mapping"
    if not isinstance(content, dict):
        raise VicurError(
            f"the settings of a processor cannot be read ({problem}).",
            where=path.name,
            remedy="Use the file of the Qwen3-VL checkpoint.",
        )
    return content


def _write(content: dict[str, Any], path: Path) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
