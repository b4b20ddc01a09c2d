"""A double of a vLLM rollout server: the real gate in front of a student in transformers.

``python -m tests.training.server_double FOLDER TASK LIFELINE`` is started as :mod:`vicur.training.rollout.child` is. In ``FOLDER`` it
writes its process id at each start (``rollout-0.pids``), and a byte for each answer (``rollout-0.served``).
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import uvicorn
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[2] / "serving"))

from vicur.config.sampling import Sampling
from vicur.config.training import TrainConfig
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.generation import generate
from vicur.modeling.weight_sums import weight_sum
from vicur.processes.asgi import read_body, refuse
from vicur.processes.lifeline import watch
from vicur.training.rollout.weights import student_weights
from vicur.training.state import new_student
from vicur_vllm.rollout_gate import EXCHANGE_VARIABLE, RolloutGate, _answer


class Double:
    """The routes of vLLM that a training uses."""

    def __init__(self, config: TrainConfig, base: Path, served: Path) -> None:
        self.chat = Chat.load(base, config.prompts)
        self.student, _ = new_student(config, base, self.chat, 0, torch.device("cpu"))
        self.served = served
        with torch.no_grad():
            for weight in self.student.parameters():
                weight.zero_()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        body = json.loads(await read_body(scope, receive, 1 << 24) or b"{}")
        match scope["path"]:
            case "/health" | "/reset_encoder_cache" | "/reset_prefix_cache":
                await _answer(send, {})
            case "/collective_rpc":
                await _answer(send, {"results": [self.call(body["method"], *body["args"])]})
            case "/inference/v1/generate":
                await _answer(send, self.generate(body))
            case path:
                await refuse(send, 404, path)

    def call(self, method: str, *arguments: str) -> Any:
        if method == "vicur_take_weights":
            loaded = load_file(Path(os.environ[EXCHANGE_VARIABLE]) / arguments[0])
            self.student.load_state_dict(loaded, strict=False)
        weights = student_weights(self.student, torch.float32)
        # The whole of each weight is one region, as on a worker without tensor parallelism.
        return {name: [[0, 0, 1, weight.numel(), weight_sum(weight)]] for name, weight in weights}

    def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        parts = request.get("content_parts", ())
        pixels = [self.chat.pixels(_decoded(part["url"])) for part in parts]
        asked = request["sampling_params"]
        sampling = Sampling(temperature=asked["temperature"], max_new_tokens=asked["max_tokens"])
        [answer] = generate(self.student, self.chat, [self.prompt(request["token_ids"], pixels)], sampling, seed=0)
        with self.served.open("a", encoding="utf-8") as file:
            file.write("x")
        logprobs = {"content": [{"logprob": each} for each in answer.logprobs]}
        reason = "stop" if answer.finished else "length"
        return {"choices": [{"token_ids": list(answer.ids), "logprobs": logprobs, "finish_reason": reason}]}

    def prompt(self, short: list[int], pixels: list[Any]) -> Prompt:
        image = self.chat.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        left = iter(pixels)
        counts = [next(left).tokens if token == image else 0 for token in short]
        ids = [token for token, count in zip(short, counts, strict=True) for _ in range(count or 1)]
        types = [int(bool(count)) for count in counts for _ in range(count or 1)]
        return Prompt(tuple(ids), tuple(types), tuple(pixels))


def _decoded(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def main(folder: Path, task_file: Path, lifeline: Path) -> None:
    watch(lifeline, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with (folder / f"{task_file.stem}.pids").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    task = json.loads(task_file.read_text(encoding="utf-8"))
    config = TrainConfig.model_validate(task["config"])
    torch.set_num_threads(1)
    os.environ[EXCHANGE_VARIABLE] = str(config.rollout.engine.exchange or folder)
    app = RolloutGate(Double(config, Path(task["base"]), folder / f"{task_file.stem}.served"))
    uvicorn.run(app, host=task["host"], port=task["port"], log_level="warning", lifespan="off")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
