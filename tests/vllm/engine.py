"""Run vLLM in a separate process, because it is configured by environment variables and leaves global state behind.

``python -m tests.vllm.engine`` reads a job from standard input and writes the answers to the file that the job names.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tests.vllm.cases import LONGEST, Case, Request

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    # vLLM compiles helpers of the sampler even in eager mode, which takes longer than generating all answers.
    "TORCH_COMPILE_DISABLE": "1",
}


class EngineFailedError(RuntimeError):
    """The process ended without answers. The message is the end of its output."""


@dataclass(frozen=True)
class Answer:
    """Response of vLLM to one request."""

    ids: list[int]  # empty if the request was aborted or rejected
    logprobs: list[float]
    prompt_logprobs: list[float] | None = None  # of all tokens except the first, if requested
    error: str | None = None  # reason of a rejection


@dataclass(frozen=True)
class Answers:
    """Responses of vLLM in the order of the requests."""

    answers: list[Answer]
    preemptions: int  # how often a request lost its KV cache and was computed again
    most_running: int  # maximum number of concurrent requests


def run_engine(
    case: Case,
    requests: Sequence[Request],
    scratch: Path,
    *,
    engine: dict[str, Any] | None = None,
    sampling: Mapping[int, dict[str, Any]] | None = None,
    scored: Sequence[int] = (),
    abort: Sequence[int] = (),
    arriving: int = 5,
    mutant: str | None = None,
) -> Answers:
    """Generate greedy responses with vLLM, restricted to the ids that training may sample.

    Args:
        case: the student.
        requests: requests in the order of arrival.
        scratch: folder for the answers.
        engine: engine arguments in addition to those for students; ``None`` as a value removes one.
        sampling: additional sampling parameters by index of the request.
        scored: indices of requests whose prompts are scored, too.
        abort: indices of requests that are aborted three steps after their arrival.
        arriving: number of requests that arrive before each step of the engine, so that prompts and responses share forward passes.
        mutant: a faulty build from :mod:`tests.vllm.mutants`.

    Raises:
        EngineFailedError: if the engine cannot be built or crashes.
    """
    output = scratch / "answers.json"
    job = {
        "folder": str(case.folder),
        "engine": engine or {},
        "mutant": mutant,
        "arriving": arriving,
        "abort": list(abort),
        "output": str(output),
        "requests": [
            {
                "ids": request.ids,
                "images": [base64.b64encode(image).decode() for image in request.images],
                "sampling": {
                    "temperature": 0,
                    "logprobs": 0,
                    "max_tokens": request.max_tokens,
                    "allowed_token_ids": case.allowed_ids,
                    "prompt_logprobs": 0 if place in scored else None,
                    **(sampling or {}).get(place, {}),
                },
            }
            for place, request in enumerate(requests)
        ],
    }
    process = subprocess.run(
        [sys.executable, "-m", "tests.vllm.engine"],
        input=json.dumps(job),
        env={**os.environ, **ENVIRONMENT},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if process.returncode or not output.exists():
        raise EngineFailedError(process.stderr[-6000:])
    results = json.loads(output.read_text())
    return Answers([Answer(**answer) for answer in results["answers"]], results["preemptions"], results["most_running"])


def _run(job: dict[str, Any]) -> dict[str, Any]:
    from vllm import LLM
    from vllm.exceptions import VLLMClientError
    from vllm.plugins import load_general_plugins

    from vicur_vllm import engine_arguments

    load_general_plugins()
    if job["mutant"]:
        from tests.vllm import mutants

        mutants.install(job["mutant"])
    arguments = {
        **engine_arguments(LONGEST),
        "dtype": "float32",
        "logprobs_mode": "processed_logprobs",
        "disable_log_stats": False,
        **job["engine"],
    }
    llm = LLM(job["folder"], **{name: value for name, value in arguments.items() if value is not None})
    waiting = list(enumerate(job["requests"]))
    answers: dict[int, Answer] = {place: Answer([], []) for place, _ in waiting}
    to_abort = dict.fromkeys(job["abort"], 3)
    most_running = 0
    while waiting or llm.llm_engine.has_unfinished_requests():
        for place, request in waiting[: job["arriving"]]:
            images = [Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB") for image in request["images"]]
            prompt = {"prompt_token_ids": request["ids"], **({"multi_modal_data": {"image": images}} if images else {})}
            try:
                llm.llm_engine.add_request(str(place), prompt, _sampling(**request["sampling"]))
            except VLLMClientError as error:
                answers[place] = Answer([], [], error=str(error))
        arrived = {place for place, _ in waiting[: job["arriving"]]}
        waiting = waiting[job["arriving"] :]
        most_running = max(most_running, llm.llm_engine.get_num_unfinished_requests())
        for output in llm.llm_engine.step():
            if output.finished:
                answers[int(output.request_id)] = _read(output)
        for place in [place for place in to_abort if place in arrived or to_abort[place] < 3]:
            to_abort[place] -= 1
            if to_abort[place] == 0:
                llm.llm_engine.abort_request([str(place)])
                del to_abort[place]
    preemptions = sum(int(m.value) for m in llm.get_metrics() if m.name == "vllm:num_preemptions")
    return {
        "answers": [vars(answers[place]) for place in sorted(answers)],
        "preemptions": preemptions,
        "most_running": most_running,
    }


def _sampling(logit_bias: dict[str, float] | None = None, **parameters: Any) -> Any:
    from vllm import SamplingParams

    # Keys of JSON objects are strings.
    bias_by_id = logit_bias and {int(token): bias for token, bias in logit_bias.items()}
    return SamplingParams(logit_bias=bias_by_id, **parameters)


def _read(output: Any) -> Answer:
    response = output.outputs[0]
    ids = list(response.token_ids)
    logprobs = [by_token[token].logprob for by_token, token in zip(response.logprobs, ids, strict=True)]
    scored = output.prompt_logprobs
    prompt = scored and [by[token].logprob for by, token in zip(scored[1:], output.prompt_token_ids[1:], strict=True)]
    return Answer(ids, logprobs, prompt)


if __name__ == "__main__":
    job = json.load(sys.stdin)
    Path(job["output"]).write_text(json.dumps(_run(job)))
