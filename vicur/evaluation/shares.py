"""Answer the questions of an evaluation in several processes, each with the model on its GPU.

Each process answers some of the batches that one process would form, and appends the responses to its journals in the scratch space. So the
responses do not depend on the number of processes, and an interrupted evaluation continues with any number of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from vicur.config.evaluation import EvaluationConfig
from vicur.evaluation.answering import Share
from vicur.evaluation.asking import ask, response_count
from vicur.evaluation.questions import read_questions
from vicur.evaluation.rounds import rounds_of
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.modeling.device import resolve_device
from vicur.modeling.student import cue_recovery_off
from vicur.processes.workers import Report, run_tasks
from vicur.stage.runner import Context


def process_count(config: EvaluationConfig) -> int:
    """Return the number of processes to use: by default one for each visible GPU, and one without."""
    if config.processes:
        return config.processes
    return torch.cuda.device_count() if resolve_device(config.device, "evaluation.device") == "cuda" else 1


def answer_in_processes(
    config: EvaluationConfig, inputs: Mapping[str, Path], limit: int, context: Context, processes: int
) -> None:
    """Store the responses to all questions in the scratch space of the stage.

    Args:
        limit: longest prompt; questions with a longer one are left out.

    Raises:
        VicurError: if a process fails. The responses of all processes until then are kept.
    """
    common = {
        "config": config.model_dump(mode="json"),
        "inputs": {name: str(path) for name, path in inputs.items()},
        "limit": limit,
        "seed": context.seed,
        "work": str(context.work),
        "processes": processes,
    }
    total = response_count(list(rounds_of(read_questions(config, inputs), config, context.seed)))
    answered = [0] * processes

    def report(number: int, done: int) -> None:
        answered[number] = done
        context.events.progress(sum(answered), total, f"in {processes} processes")

    for _ in run_tasks(answer_share, [{**common, "number": n} for n in range(processes)], processes, report):
        pass


def answer_share(task: dict[str, Any], report: Report) -> None:
    """Answer the batches of one of the processes."""
    config = EvaluationConfig.model_validate(task["config"])
    inputs = {name: Path(path) for name, path in task["inputs"].items()}
    if config.threads:
        torch.set_num_threads(config.threads)
    device: str = resolve_device(config.device, "evaluation.device")
    if device == "cuda":
        device = f"cuda:{task['number'] % torch.cuda.device_count()}"
    chat = Chat.load(inputs["model"], config.prompts)
    model = load_model(inputs["model"], device=device)
    rounds = list(rounds_of(read_questions(config, inputs), config, task["seed"]))
    with nullcontext() if config.cue_recovery else cue_recovery_off(model):
        ask(
            model,
            chat,
            rounds,
            config,
            task["limit"],
            task["seed"],
            Path(task["work"]),
            lambda done, _total, _name: report(done),
            share=Share(task["number"], task["processes"]),
        )
