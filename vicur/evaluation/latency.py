"""Seconds per response, one question at a time."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.evaluation import EvaluationConfig
from vicur.data.schema import Example
from vicur.evaluation.latency_metrics import LatencyMetrics
from vicur.evaluation.prompts import prompts_for
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.modeling.prompt_lengths import fitting
from vicur.seeds import numpy_generator, substream

_CPU_FACTS = Path("/proc/cpuinfo")


def measure_latency(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    questions: Sequence[Example],
    config: EvaluationConfig,
    limit: int,
    seed: int,
) -> LatencyMetrics | None:
    """Measure the seconds per response on a seeded sample of the questions; ``None`` if the prompts of all of them are too long.

    The time includes the tokens of the prompt and the decoding of its images, but neither reading the dataset nor loading the model. A
    first response, which is not counted, warms up the device.
    """
    order = numpy_generator(seed, "latency").permutation(len(questions)).tolist()
    asked = (question for row in order if fitting(prompts_for(chat, [question := questions[row]]), limit))
    sample = list(islice(asked, config.latency_examples))
    if not sample:
        return None
    seconds, tokens = [], []
    for number, question in enumerate([sample[0], *sample]):
        start = time.perf_counter()
        [response] = generate(
            model,
            chat,
            prompts_for(chat, [question]),
            config.sampling,
            seed=substream(seed, "evaluation", "latency", number),
            batch_size=1,
        )
        seconds.append(time.perf_counter() - start)
        tokens.append(len(response.ids))
    return LatencyMetrics(
        examples=len(sample),
        median_seconds=float(np.median(seconds[1:])),
        p95_seconds=float(np.quantile(seconds[1:], 0.95)),
        mean_tokens=float(np.mean(tokens[1:])),
        device=_device_name(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
    )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        lines = _CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU, {names[0] if names else platform.machine()}"
