"""Record what transformers makes of videos, for ``test_video_parity.py``: ``python -m tests.golden.make_video``.

Needs torchvision, which the project does not depend on. Recorded with transformers 5.23.0, torchvision 0.28.0 and torch 2.13.0.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration, Qwen3VLProcessor, Qwen3VLVideoProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.video_utils import VideoMetadata

import vicur.modeling

BASE = Path(vicur.modeling.__file__).parent / "tiny" / "base"
RECORDED = Path(__file__).parent / "data" / "video.safetensors"
TEXT = "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>which digit is red ?<|im_end|>\n<|im_start|>assistant\n"
# Frames, height, width, frames of the whole video, its rate, and whether pixels of a frame are capped.
CASES = {
    "resized": (5, 40, 56, 50, 24.0, False),
    "unchanged": (4, 32, 32, 120, 29.97, False),
    "wide": (2, 21, 130, 9, 8.0, False),
    "capped": (6, 48, 48, 61, 10.0, True),
}
SAMPLED = [(1, 24.0), (3, 1.0), (10, 5.0), (50, 24.0), (901, 29.97), (90000, 25.0)]


def main() -> None:
    """Write the recorded tensors and their settings."""
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    videos = Qwen3VLVideoProcessor.from_pretrained(BASE, max_video_tokens=4)
    processor = Qwen3VLProcessor(Qwen2VLImageProcessorPil.from_pretrained(BASE), tokenizer, videos)
    model = Qwen3VLForConditionalGeneration.from_pretrained(BASE, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    tensors, settings = {}, {}
    for name, (frames, height, width, total, fps, capped) in CASES.items():
        video = torch.randint(0, 256, (frames, 3, height, width), generator=generator, dtype=torch.uint8)
        indices = [round(place * (total - 1) / (frames - 1)) for place in range(frames)]
        inputs = processor(
            text=[TEXT],
            videos=[video],
            video_metadata=[VideoMetadata(total_num_frames=total, fps=fps, frames_indices=[*indices])],
            do_sample_frames=False,
            cap_pixels_per_frame=capped,
            return_tensors="pt",
        )
        positions, _ = model.model.get_rope_index(
            inputs["input_ids"], inputs["mm_token_type_ids"], None, inputs["video_grid_thw"]
        )
        with torch.no_grad():
            logits = model(**{k: v for k, v in inputs.items() if k != "video_metadata"}).logits
        settings[name] = {"indices": indices, "fps": fps, "capped": capped}
        for key in ("input_ids", "mm_token_type_ids", "pixel_values_videos", "video_grid_thw"):
            tensors[f"{name}.{key}"] = inputs[key].contiguous()
        tensors |= {f"{name}.video": video, f"{name}.positions": positions[:, 0], f"{name}.logits": logits[0]}
    sampled = [videos.sample_frames(VideoMetadata(total_num_frames=total, fps=fps)).tolist() for total, fps in SAMPLED]
    save_file(
        {key: tensor.contiguous() for key, tensor in tensors.items()},
        RECORDED,
        metadata={"cases": json.dumps(settings), "sampled": json.dumps(sampled)},
    )


if __name__ == "__main__":
    main()
