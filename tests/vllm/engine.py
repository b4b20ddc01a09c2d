"""Answers of vLLM, from a process of its own: an engine takes its settings from the environment, and leaves much behind.

``python -m tests.vllm.engine`` reads a job from its standard input and writes the answers into the job's file.
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
    # Helpers of the sampler that vLLM compiles even so: it takes longer than all answers.
    "TORCH_COMPILE_DISABLE": "1",
}


class EngineFailedError(RuntimeError):
    """The process ended without answers; the message is the end of what it wrote."""


@dataclass(frozen=True)
class Answer:
    """What vLLM answered.

    Attributes:
        ids: tokens of the response; none for an aborted request.
        logprobs: their log-probabilities.
        prompt_logprobs: those of the prompt's tokens but the first, where they were asked for.
        error: why the request was refused, where it was.
    """

    ids: list[int]
    logprobs: list[float]
    prompt_logprobs: list[float] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Answers:
    """What came back.

    Attributes:
        answers: by place of the request.
        preemptions: how often a request lost its cache and was computed again.
        most_running: most requests that were answered at once.
    """

    answers: list[Answer]
    preemptions: int
    most_running: int


def ask(
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
    """Lets vLLM answer, greedily and with the ids that are sampled in training.

    Args:
        case: the student.
        requests: what to ask.
        scratch: a folder for the exchange.
        engine: arguments of the engine, beside those that a student needs; ``None`` as a value takes one away.
        sampling: more sampling parameters of the requests at some places.
        scored: places of requests whose prompts are scored too.
        abort: places of requests that are aborted three steps after they came.
        arriving: requests that come before each step of the engine, so that prompts and responses share forwards.
        mutant: a faulty build from :mod:`tests.vllm.mutants`.

    Raises:
        EngineFailedError: where the engine cannot be built, or breaks off.
    """
    written = scratch / "answers.json"
    job = {
        "folder": str(case.folder),
        "engine": engine or {},
        "mutant": mutant,
        "arriving": arriving,
        "abort": list(abort),
        "written": str(written),
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
    ran = subprocess.run(
        [sys.executable, "-m", "tests.vllm.engine"],
        input=json.dumps(job),
        env={**os.environ, **ENVIRONMENT},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if ran.returncode or not written.exists():
        raise EngineFailedError(ran.stderr[-6000:])
    found = json.loads(written.read_text())
    return Answers([Answer(**answer) for answer in found["answers"]], found["preemptions"], found["most_running"])


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    from vllm import LLM
    from vllm.exceptions import VLLMClientError
    from vllm.plugins import load_general_plugins

    from vicur_vllm import engine_arguments

    load_general_plugins()
    if job["mutant"]:
        from tests.vllm import mutants

        mutants.put_in(job["mutant"])
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
        come = {place for place, _ in waiting[: job["arriving"]]}
        waiting = waiting[job["arriving"] :]
        most_running = max(most_running, llm.llm_engine.get_num_unfinished_requests())
        for output in llm.llm_engine.step():
            if output.finished:
                answers[int(output.request_id)] = _read(output)
        for place in [place for place in to_abort if place in come or to_abort[place] < 3]:
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

    # JSON's keys are strings.
    biased = logit_bias and {int(token): bias for token, bias in logit_bias.items()}
    return SamplingParams(logit_bias=biased, **parameters)


def _read(output: Any) -> Answer:
    response = output.outputs[0]
    ids = list(response.token_ids)
    logprobs = [drawn[token].logprob for drawn, token in zip(response.logprobs, ids, strict=True)]
    scored = output.prompt_logprobs
    prompt = scored and [drawn[t].logprob for drawn, t in zip(scored[1:], output.prompt_token_ids[1:], strict=True)]
    return Answer(ids, logprobs, prompt)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    Path(asked["written"]).write_text(json.dumps(_answer(asked)))
