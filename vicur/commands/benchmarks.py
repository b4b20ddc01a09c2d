"""``vicur benchmarks``: the paper's seven benchmarks, from their files to scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vicur.commands.common import Commands, ConfigOption, SetOption, configuration, examples, help_with_examples
from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur.evaluation.benchmarks.answering import Shard

app = Commands(
    help=help_with_examples(
        "Stage, answer and score the paper's benchmarks.",
        "vicur benchmarks list",
        "vicur benchmarks stage mathvista wemath --from downloads --output benchmarks",
        "vicur benchmarks answer benchmarks/wemath --model students/vicur --output answers/wemath-vicur",
    ),
    no_args_is_help=True,
)


@app.command("list")
@examples("vicur benchmarks list")
def list_benchmarks() -> None:
    """List the benchmarks, with their files and metrics."""
    from vicur.evaluation.benchmarks.registry import BENCHMARKS

    for each in BENCHMARKS.values():
        rows = f"{each.rows:,} questions" if each.rows else "your own questions"
        typer.echo(f"{each.name:10} {each.title}: {rows}, {each.metric}")
        typer.echo(f"{'':10} {each.file}{f', MD5 {each.md5}' if each.md5 else ' of a prepared dataset'}")


@app.command()
@examples(
    "vicur benchmarks stage mathvista --from downloads --output benchmarks",
    "vicur benchmarks stage mathverse wemath mmmu dynamath --from s3://team/benchmarks --output benchmarks",
    "vicur benchmarks stage videomme --from Video-MME --output benchmarks",
    "vicur benchmarks stage vision-r1 --from data --output benchmarks",
)
def stage(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Benchmarks.", show_default=False)],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="Folder or s3:// address of the files, or of folders named as the benchmarks.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder in which each dataset is a folder.", show_default=False)
    ],
    md5: Annotated[str, typer.Option("--md5", help="MD5 of another version of a benchmark's file.")] = "",
) -> None:
    """Turn benchmarks' own files into datasets with the harness's prompts.

    Files are recognised by their MD5 and never downloaded. Video-MME needs its videos in the folder video. The private test split of
    Vision-R1 is replaced by the test split of a prepared dataset of your own. The hash that is printed identifies the dataset.
    """
    from vicur.commands.common import refuse_to_replace
    from vicur.commands.console_events import ConsoleEvents
    from vicur.evaluation.benchmarks.registry import benchmark
    from vicur.evaluation.benchmarks.sources import own_files
    from vicur.evaluation.benchmarks.staging import stage as stage_benchmark
    from vicur.stage.table import STAGES

    wanted = [benchmark(name) for name in dict.fromkeys(names)]
    if md5 and len(wanted) > 1:
        raise VicurError("is the hash of one file.", where=f"--md5 {md5}", remedy="Stage one benchmark at a time.")
    for each in wanted:
        folder = output / each.name
        refuse_to_replace(folder, STAGES["prepare"].outputs, {})
        with ConsoleEvents(f"stage {each.name}") as events, own_files(each, source, folder, events) as files:
            staged = stage_benchmark(
                each,
                files,
                folder,
                md5=md5.lower(),
                on_row=lambda done, each=each, events=events: events.progress(done, each.rows or done, "questions"),  # type: ignore[misc]
            )
        note = "" if staged.is_official or not each.md5 else ", not the file that the paper's harness uses"
        typer.echo(f"{each.title}: {staged.rows:,} questions, {staged.images:,} images{note}")
        typer.echo(f"Written to {folder}, hash {staged.dataset_hash}")


@app.command()
@examples(
    "vicur benchmarks answer benchmarks/wemath --model students/vicur --output answers/wemath-vicur",
    "vicur benchmarks answer benchmarks/mmmu --model models/Qwen3-VL-2B-Instruct -o answers/mmmu-base --set evaluation.batch_size=64",
    "vicur benchmarks answer benchmarks/dynamath --model students/vicur -o answers/dynamath-vicur --shard 0/8",
)
def answer(
    dataset: Annotated[Path, typer.Argument(help="Folder of a staged benchmark.", show_default=False)],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Folder of a student or base model, or 'tiny'.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the answers.", show_default=False)],
    settings: Annotated[
        Literal["paper", "configured"],
        typer.Option(
            "--settings",
            help="paper: the paper's sampling, system prompt and pixel budget. configured: evaluation.decoding and those of data.",
        ),
    ] = "paper",
    shard: Annotated[
        str, typer.Option("--shard", help="Answer a part of the questions, K/N: K counts from 0 to N-1.")
    ] = "0/1",
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Answer a staged benchmark with one model.

    Batch size and device are settings of the section evaluation. After an interruption, the same command continues behind the last batch.
    Processes that run the command with different shards and the same output share the work; the last one writes the output.
    """
    from vicur.commands.common import refuse_to_replace
    from vicur.commands.console_events import ConsoleEvents
    from vicur.config.base import BaseModelConfig
    from vicur.config.sources import Sources
    from vicur.config.validation import validated
    from vicur.evaluation.benchmarks.answering import answer as answer_benchmark
    from vicur.evaluation.benchmarks.answering import paper_settings
    from vicur.evaluation.benchmarks.answers import FILES
    from vicur.weights import staged

    loaded = configuration(config, overrides)
    named: BaseModelConfig = validated(
        BaseModelConfig, {"path": model}, Sources("--model", options={"path": "--model"})
    )
    part = _shard(shard)
    refuse_to_replace(output, FILES, {"dataset": dataset})
    evaluation = paper_settings(loaded.evaluation) if settings == "paper" else loaded.evaluation
    with ConsoleEvents("answer") as events:
        counts = answer_benchmark(
            dataset,
            staged(named.path),
            output,
            evaluation,
            seed=loaded.seed,
            shard=part,
            on_progress=lambda done, total: events.progress(done, total, "questions"),
        )
    resumed = f" ({counts.resumed:,} of an interrupted run)" if counts.resumed else ""
    typer.echo(f"{counts.answered:,} of {counts.rows:,} questions answered{resumed}")
    if counts.unfinished or counts.unanswered:
        typer.echo(f"{counts.unfinished:,} cut off, {counts.unanswered:,} not asked because their prompt is too long")
    typer.echo(f"Written to {output}" if counts.is_complete else "Not complete: other shards are missing")


def _shard(text: str) -> Shard:
    from vicur.evaluation.benchmarks.answering import Shard

    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count) <= 10_000):
        raise VicurError(
            "is not a shard.", where=f"--shard {text}", remedy="Write K/N with K from 0 to N-1, such as 0/8."
        )
    return Shard(int(number), int(count))


@app.command()
@examples(
    "vicur benchmarks score benchmarks/wemath answers/wemath -o scores/wemath --judge http://judge:8000/v1 --judge-model Qwen3-32B",
    "vicur benchmarks score benchmarks/vision-r1 answers/own --output scores/own --judge none",
)
def score(
    dataset: Annotated[Path, typer.Argument(help="Folder of the staged benchmark.", show_default=False)],
    answers: Annotated[
        Path, typer.Argument(help="Folder that vicur benchmarks answer has written.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the scores.", show_default=False)],
    judge: Annotated[
        str,
        typer.Option(
            "--judge", help="Base address of the judge's OpenAI-compatible API, or none: by rules.", show_default=False
        ),
    ],
    judge_model: Annotated[str, typer.Option("--judge-model", help="Name of the judge's model.")] = "",
    judge_revision: Annotated[
        str, typer.Option("--judge-revision", help="Commit or checksum of its weights, for the record.")
    ] = "",
    harness: Annotated[
        Path | None,
        typer.Option(
            "--harness",
            help="Python of the harness's environment. Default: VICUR_BENCHMARKS_PYTHON or .venv-benchmarks.",
            show_default=False,
        ),
    ] = None,
    max_unclear: Annotated[
        float,
        typer.Option(
            "--max-unclear",
            min=0,
            max=1,
            help="Share of responses that may be cut off, not asked or without an answer.",
        ),
    ] = 0.1,
) -> None:
    """Score answers with VLMEvalKit and a judge, and compute the paper's metric.

    The API key of the judge is read from VICUR_JUDGE_API_KEY. The command fails without a score if a question has no answer, the judge does
    not answer, the harness would guess, or too many responses are unclear. Replies of the judge are kept until it succeeds.
    """
    import os

    from vicur.commands.common import refuse_to_replace
    from vicur.config.benchmarks import API_KEY_VARIABLE
    from vicur.evaluation.benchmarks.harness import Harness
    from vicur.evaluation.benchmarks.judge import Judge
    from vicur.evaluation.benchmarks.scores import FILES
    from vicur.evaluation.benchmarks.scoring import score as score_answers
    from vicur.wording import percent

    refuse_to_replace(output, FILES, {"dataset": dataset, "answers": answers})
    asked = None
    if judge != "none":
        if not judge_model:
            raise VicurError(
                "is not given.", where="--judge-model", remedy="Name the judge's model: it belongs to the result."
            )
        asked = Judge(judge, judge_model, judge_revision, os.environ.get(API_KEY_VARIABLE, ""))
    scored = score_answers(
        dataset, answers, output, asked, Harness.found(harness) if asked else None, max_unclear=max_unclear
    )
    counts = scored.counts
    by = f"{scored.harness}, judge {scored.judge.model}" if scored.judge else "rules"
    typer.echo(f"{scored.benchmark}: {percent(scored.score)} ({by}); by rules {percent(scored.rule_score)}")
    typer.echo(
        f"{counts.rows:,} rows: {counts.judged:,} judged, {counts.unparsed:,} without an answer, {counts.unfinished:,} cut off, "
        f"{counts.unanswered:,} not asked"
    )
    typer.echo(f"Written to {output}")
