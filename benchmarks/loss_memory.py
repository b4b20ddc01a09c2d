"""Memory and time of a loss over the vocabulary: in tiles, as in training, compared with all logits at once.

    python -m benchmarks.loss_memory [--tokens 256 1024] [--repeat 1] [--objectives k1 jsd] [--json FILE]

One thread, float32, with output layers of the size of Qwen3-VL-2B's. A run is the forward and backward of one loss, with gradients of the
student's hidden states and weights. ``peak`` is the peak of the allocator without the gradient of the weights, which both variants
need. ``seconds`` are CPU time; the variants take turns, and the median of several runs is reported. Only tiled k1 computes entropies.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import kl_div
from torch.profiler import ProfilerActivity, profile

from benchmarks.reporting import report
from vicur.config.objective import K1, ForwardKl, Jsd, ObjectiveConfig, ReverseKl
from vicur.modeling.scoring import ResponseStates
from vicur.modeling.tiles import MASKED_LOGIT
from vicur.training.batch import TeacherScores, objective_loss
from vicur.training.objectives import k1_loss, token_weights, weighted_sum

OBJECTIVES: dict[str, ObjectiveConfig] = {
    "k1": K1(),
    "forward_kl": ForwardKl(),
    "reverse_kl": ReverseKl(),
    "jsd": Jsd(beta=0.5),
}
FORBIDDEN = 300
MB = 1e6


@dataclass(frozen=True, eq=False)
class Problem:
    """States of student and teacher at the tokens of one response."""

    student: ResponseStates
    teacher: ResponseStates
    sampled_N: Tensor
    weights_BR: Tensor
    forbidden: Tensor


def random_problem(tokens: int, heads: tuple[Tensor, Tensor]) -> Problem:
    """Return random states for the output layers of student and teacher."""
    vocabulary, hidden = heads[0].shape
    generator = torch.Generator().manual_seed(tokens)
    targets_N = torch.randint(vocabulary - FORBIDDEN, (tokens,), generator=generator)
    mask_BR = torch.ones(1, tokens, dtype=torch.bool)
    student, teacher = (
        ResponseStates(torch.randn(tokens, hidden, generator=generator), targets_N, mask_BR, head) for head in heads
    )
    student.hidden_NH.requires_grad_()
    sampled_N = -12 + torch.randn(tokens, generator=generator)
    forbidden = torch.arange(vocabulary - FORBIDDEN, vocabulary)
    return Problem(student, teacher, sampled_N, token_weights(mask_BR), forbidden)


def tiled(objective: ObjectiveConfig, problem: Problem) -> None:
    # In both variants the teacher's log-probabilities are part of the problem: for k1 only the student's pass is measured.
    teacher = (
        TeacherScores(logprobs_N=problem.sampled_N) if objective.type == "k1" else TeacherScores(states=problem.teacher)
    )
    objective_loss(objective, problem.student, problem.weights_BR, problem.forbidden, teacher=teacher).value.backward()


def dense(objective: ObjectiveConfig, problem: Problem) -> None:
    weights_N = problem.weights_BR[0]
    student_NV = dense_logprobs(problem.student, problem.forbidden)
    if objective.type == "k1":
        student_N = student_NV.gather(1, problem.student.targets_N[:, None])[:, 0]
        advantages_N = (problem.sampled_N - student_N).detach().clamp(-objective.clamp, objective.clamp)
        k1_loss(advantages_N, student_N, weights_N).backward()
        return
    with torch.no_grad():
        teacher_NV = dense_logprobs(problem.teacher, problem.forbidden)
    weighted_sum(dense_divergence(objective, student_NV, teacher_NV), weights_N).backward()


def dense_logprobs(states: ResponseStates, forbidden: Tensor) -> Tensor:
    """Return the log-probabilities of the whole vocabulary at each token [N, V]."""
    return (states.hidden_NH @ states.head_VH.t()).index_fill(1, forbidden, MASKED_LOGIT).log_softmax(-1)


def dense_divergence(objective: ObjectiveConfig, student_NV: Tensor, teacher_NV: Tensor) -> Tensor:
    def kl(first_NV: Tensor, second_NV: Tensor) -> Tensor:
        return kl_div(second_NV, first_NV, log_target=True, reduction="none").sum(-1)

    if objective.type == "jsd":
        shares = torch.tensor([objective.beta, 1 - objective.beta]).log()
        mixed_NV = torch.logaddexp(teacher_NV + shares[0], student_NV + shares[1])
        return objective.beta * kl(teacher_NV, mixed_NV) + (1 - objective.beta) * kl(student_NV, mixed_NV)
    return kl(teacher_NV, student_NV) if objective.type == "forward_kl" else kl(student_NV, teacher_NV)


def measured(
    run: Callable[[ObjectiveConfig, Problem], None], objective: ObjectiveConfig, problem: Problem
) -> list[float]:
    """Return CPU seconds and peak bytes of one run."""
    head = problem.student.head_VH
    problem.student.hidden_NH.grad = head.grad = None
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as profiler:
        start = time.process_time()
        run(objective, problem)
        seconds = time.process_time() - start
    return [seconds, peak_bytes(profiler, besides=head.numel() * head.element_size())]


def peak_bytes(profiler: profile, besides: int) -> float:
    """Return the peak of the memory allocated in the profile, without allocations of exactly ``besides`` bytes."""
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        if abs(event.nbytes()) != besides:
            held += event.nbytes()
            peak = max(peak, held)
    return float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--hidden", type=int, default=2_048)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.hidden in arguments.tokens:
        parser.error(
            "--tokens must differ from --hidden, so that logits and the gradient of the weights have different sizes"
        )
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.vocabulary, arguments.hidden)
    heads = tuple(torch.randn(shape, generator=generator).mul_(0.02) for _ in range(2))
    heads[0].requires_grad_()
    rows = []
    for tokens in arguments.tokens:
        states = random_problem(tokens, heads)
        for name in arguments.objectives:
            variants: dict[str, list[list[float]]] = {"tiled": [], "dense": []}
            for _ in range(arguments.repeat):
                for variant, run in (("dense", dense), ("tiled", tiled)):
                    variants[variant].append(measured(run, OBJECTIVES[name], states))
            (seconds, peak), (dense_seconds, dense_peak) = (
                [median(column) for column in zip(*runs, strict=True)] for runs in variants.values()
            )
            rows.append(
                {
                    "objective": name,
                    "tokens": tokens,
                    "peak_extra_mb": peak / MB,
                    "dense_peak_extra_mb": dense_peak / MB,
                    "peak_share": peak / dense_peak,
                    "seconds": seconds,
                    "dense_seconds": dense_seconds,
                    "time_ratio": seconds / dense_seconds,
                }
            )
            print(rows[-1], flush=True)
    title = f"Losses over {shape[0]:,} tokens of vocabulary, hidden size {shape[1]:,}: tiled and dense"
    report(title, rows, arguments.json)


if __name__ == "__main__":
    main()
