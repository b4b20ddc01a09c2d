"""``vicur cues audit``: examine any file of cues, or compare the audit with labelled cues."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vicur.commands.common import examples
from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur.cues.findings import Finding
    from vicur.cues.labelled import Agreement, PosedCue

_SHOWN_DISAGREEMENTS = 50


@examples(
    "vicur cues audit cues --dataset data",
    "vicur cues audit my-cues.jsonl --show 5",
    "vicur cues audit --labels labelled.jsonl --json audit.json",
)
def audit(
    cues: Annotated[
        Path | None,
        typer.Argument(
            help="Output folder of 'vicur cues extract', its table of cues, or a JSONL file with question, answer and cue in each row.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="JSONL file of labelled cues, to measure the audit with.", show_default=False),
    ] = None,
    dataset: Annotated[
        Path, typer.Option("--dataset", help="Folder of the dataset whose examples the cues belong to.")
    ] = Path("data"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File to write the result to, as JSON.", show_default=False)
    ] = None,
    show: Annotated[int, typer.Option("--show", min=0, max=1000, help="Number of examples shown for each rule.")] = 2,
) -> None:
    """Examine cues for leaks of the answer, steps of a solution, false statements and unusable texts.

    Prints the number of cues for each rule, with examples. A row of a JSONL file has question, answer and cue, and optionally choices,
    image_text (the text in the image) and evidence. A row with an example_id instead of a question belongs to an example of --dataset.

    With --labels, prints precision and recall of each label and precision of each rule. Rows of this file also have the truth values
    answer_leak, solution_leak, ungrounded, injected and unusable; a missing one is false.
    """
    if (cues is None) == (labels is None):
        raise VicurError(
            "needs either a file of cues or --labels.",
            where="vicur cues audit",
            remedy="Run 'vicur cues audit cues' or 'vicur cues audit --labels labelled.jsonl'.",
        )
    if labels is not None:
        from vicur.cues.labelled import compare, read_posed

        agreement = compare(read_posed(labels, labelled=True))
        _print_agreement(agreement, show)
        result = agreement.record()
    else:
        assert cues is not None
        result = _examined(_posed(cues, dataset), show)
    if json_file is not None:
        _write(result, json_file)


def _examined(rows: Iterable[PosedCue], show: int) -> dict[str, Any]:
    """Examine all cues, print a table of the rules with examples, and return it as JSON values."""
    from vicur.cues.findings import examine

    flagged: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    shown: dict[tuple[str, str], list[tuple[PosedCue, Finding]]] = {}
    total = clean = 0
    for row in rows:
        findings, _ = examine(row.cue, row)
        total, clean = total + 1, clean + (not findings)
        flagged.update({finding.label for finding in findings})
        for key, finding in {(each.label, each.rule): each for each in reversed(findings)}.items():
            counts[key] += 1
            if len(shown.setdefault(key, [])) < show:
                shown[key].append((row, finding))
    typer.echo(f"{total:,} cues, {clean:,} without findings")
    for label, count in flagged.most_common():
        typer.echo(f"\n{label}: {count:,} cues ({count / total:.1%})")
        for (_, rule), found in sorted(((k, n) for k, n in counts.items() if k[0] == label), key=lambda each: -each[1]):
            typer.echo(f"  {rule}: {found:,}")
            for row, finding in shown[label, rule]:
                typer.echo(
                    f"    {_short(row.question)!r}, answer {_short(row.answer)!r}\n      {_short(row.cue)!r}: {_short(finding.clause)!r}"
                )
    rules: dict[str, dict[str, int]] = {}
    for (label, rule), found in sorted(counts.items()):
        rules.setdefault(label, {})[rule] = found
    return {"cues": total, "clean": clean, "labels": dict(flagged), "rules": rules}


def _print_agreement(agreement: Agreement, show: int) -> None:
    typer.echo(f"{'label':14}  {'labelled':>8}  {'found':>6}  {'precision':>9}  {'recall':>7}")
    for label, counts in agreement.labels.items():
        found, labelled = counts.right + counts.wrong, counts.right + counts.missed
        typer.echo(
            f"{label:14}  {labelled:8}  {found:6}  {_percent(counts.precision):>9}  {_percent(counts.recall):>7}"
        )
    share = agreement.clean_flagged / agreement.clean if agreement.clean else None
    typer.echo(
        f"{agreement.rows} rows; {agreement.clean_flagged} of {agreement.clean} clean ones flagged ({_percent(share)})"
    )
    typer.echo(f"\n{'rule':42}  {'found':>6}  {'precision':>9}")
    for (label, rule), counts in sorted(agreement.rules.items()):
        typer.echo(f"{f'{label}: {rule}':42}  {counts.right + counts.wrong:6}  {_percent(counts.precision):>9}")
    shown = agreement.disagreements[: _SHOWN_DISAGREEMENTS if show else 0]
    for each in shown:
        typer.echo(
            f"\nrow {each.row.row}: {_short(each.row.question)!r}, answer {_short(each.row.answer)!r}\n  {_short(each.row.cue)!r}"
        )
        for label in each.missed:
            typer.echo(f"  missed {label}")
        for finding in each.extra:
            typer.echo(f"  wrongly {finding.label}: {finding.rule} in {_short(finding.clause)!r}")
    if len(agreement.disagreements) > len(shown):
        typer.echo(f"\n{len(agreement.disagreements) - len(shown)} more disagreements; --json lists all.")


def _posed(path: Path, dataset: Path) -> Iterator[PosedCue]:
    """Read cues with their questions.

    Raises:
        VicurError: if a file cannot be read, or a cue belongs to none of the dataset's examples.
    """
    from vicur.cues.labelled import read_posed, records
    from vicur.cues.store import CUES_FILE, read_cues

    if path.is_dir() or path.name == CUES_FILE or path.suffix == ".parquet":
        yield from _joined(
            read_cues(path if path.is_dir() else path.parent, path.name if path.is_file() else CUES_FILE), dataset, path
        )
        return
    first = next(iter(records(path)), None)
    if first is None or "example_id" not in first[1] or "question" in first[1]:
        yield from read_posed(path, labelled=False)
        return
    cues: dict[str, str] = {}
    for number, record in records(path):
        if not isinstance(record.get("example_id"), str) or not isinstance(record.get("cue"), str):
            raise VicurError(
                "has no example_id or no cue.",
                where=f"{path}: row {number}",
                remedy='Write rows like {"example_id": "7", "cue": "..."}.',
            )
        cues[record["example_id"]] = record["cue"]
    yield from _joined(cues, dataset, path)


def _joined(cues: Mapping[str, str], dataset: Path, path: Path) -> Iterator[PosedCue]:
    from vicur.cues.labelled import PosedCue
    from vicur.data import read_manifest
    from vicur.data.stored import StoredSplit

    found = 0
    for split, count in read_manifest(dataset).examples.items():
        for example in StoredSplit(dataset, split) if count else ():
            if (cue := cues.get(example.id)) is not None:
                found += 1
                yield PosedCue(
                    found, example.question, example.answer, example.choices, cue, example.metadata, example.source
                )
    if found < len(cues):
        missing = len(cues) - found
        raise VicurError(
            f"{missing:,} of {len(cues):,} cues belong to no example of the dataset {dataset}.",
            where=str(path),
            remedy="Pass the dataset that the cues were made for with --dataset.",
        )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _short(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:100]} ... {text[-40:]}"


def _write(result: Mapping[str, Any], path: Path) -> None:
    from vicur.storage.folders import new_file

    with new_file(path) as file:
        file.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", errors="replace")
