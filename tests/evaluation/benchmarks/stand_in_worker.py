"""Stands in for the harness where it is not installed: the same files in and out, one call of the judge for each response.

A file ``behave`` beside it makes it misbehave: crash, silent, incomplete, shifted or guess.
"""

import csv
import json
import sys
import urllib.request
from pathlib import Path

request = json.loads(Path(sys.argv[1]).read_text())
work = Path(sys.argv[1]).parent
behaviour = (Path(__file__).parent / "behave").read_text() if (Path(__file__).parent / "behave").is_file() else ""
predictions = json.loads((work / "predictions.json").read_text())
csv.field_size_limit(1 << 28)
rows = list(csv.DictReader((work / "rows.tsv").open(newline="", encoding="utf-8"), delimiter="\t"))


def ask(text: str) -> str:
    body = json.dumps({"model": "judge", "messages": [{"role": "user", "content": text}], "temperature": 0}).encode()
    call = urllib.request.Request(request["judge"], body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(call, timeout=60) as reply:  # noqa: S310
            return json.load(reply)["choices"][0]["message"]["content"]
    except OSError:
        # As the harness: a judge that fails makes the answer wrong.
        return ""


if behaviour == "crash":
    raise RuntimeError("the data set cannot be read")
verdicts = []
for row, prediction in zip(rows, predictions, strict=True):
    said = ask(f"Model response: '{prediction}'\nExtracted Answer: ")
    gold = row.get("answer_option") or row["answer"]
    log = "All 5 retries failed." if behaviour == "guess" and len(verdicts) == 2 else "Succeed"
    verdicts.append(
        {"index": row["index"], "correct": said == gold, "judged": True, "unparsed": said in ("", "Z"), "extracted": said,
         "log": log, "failed": "failed" in log}
    )  # fmt: skip
if behaviour == "incomplete":
    verdicts.pop()
if behaviour != "silent":
    score = 0.123 if behaviour == "shifted" else None
    (work / "result.json").write_text(json.dumps({"version": "0.0.20", "score": score, "rows": verdicts}))
