"""The chain from a version back to the files that its data came from, with what is known about each link."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from vicur.registry.history import history_of
from vicur.registry.provenance import Provenance
from vicur.registry.tags import verdict_reasons, verdict_state
from vicur.registry.versions import Version
from vicur.wording import percent

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PIPELINE_RUN = "vicur.run_id"
_SOURCES = ("path", "uri", "repository", "revision", "hash", "remote", "files", "subset")
_SETTINGS = ("steps", "batch_size", "learning_rate", "privilege", "objective", "recovery", "trained", "rollout", "keep")


class Link(BaseModel, frozen=True):
    """A link of the chain."""

    name: str
    facts: dict[str, Any]
    """What is known, by name."""
    unknown: list[str] = []
    """Names of facts that a version of this release has, and this one lacks."""


class Chain(BaseModel, frozen=True):
    """The links from a version to the source of its data, in this order."""

    model: str
    version: str
    aliases: list[str]
    links: list[Link]


def chain_of(client: MlflowClient, version: Version, provenance: Provenance) -> Chain:
    """Follow a version back to the source of its data."""
    lineage, run = provenance.lineage, provenance.run
    links = [
        _version(client, version, provenance),
        _run("registration", client, provenance.registration_run),
        _run("training run", client, lineage.training_run),
        _link(
            "training",
            method=lineage.method,
            seed=lineage.seed,
            **{name: provenance.training.get(name) for name in _SETTINGS},
            best_step=provenance.best_step,
            checkpoint=lineage.checkpoint,
        ),
        _environment(provenance),
        _link("base", path=run.get("base", {}).get("path"), sha256=lineage.parent),
        _teacher(provenance),
        _cues(provenance),
        _link("dataset", dvc=provenance.data.dvc, examples=provenance.data.examples, skipped=_skipped(provenance)),
        _source(provenance),
    ]
    return Chain(model=version.model, version=version.number, aliases=list(version.aliases), links=links)


def _link(name: str, /, **facts: Any) -> Link:
    """Return a link with the facts that are known. An empty value is unknown, unlike 0 and false."""
    missing = [fact for fact, value in facts.items() if value is None or value in ("", {}, [])]
    return Link(name=name, facts={fact: value for fact, value in facts.items() if fact not in missing}, unknown=missing)


def _version(client: MlflowClient, version: Version, provenance: Provenance) -> Link:
    entity = client.get_model_version(version.model, version.number)
    source = str(entity.source or "")
    copied_from = source if source.startswith("models:/") and "/m-" not in source else provenance.copied_from
    return _link(
        "version",
        registered=_moment(entity.creation_timestamp),
        verdict=verdict_state(version.tags),
        reasons=verdict_reasons(version.tags),
        moves=[str(move) for move in history_of(client, version.model).of(version.number)] or "none",
        **({"copied from": copied_from} if copied_from else {}),
    )


def _run(name: str, client: MlflowClient, run_id: str) -> Link:
    from mlflow.exceptions import MlflowException

    if not run_id:
        return _link(name, run=None)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return Link(
            name=name, facts={"run": run_id, "note": "not on this server: it was deleted, or is on another one"}
        )
    return _link(
        name,
        run=run_id,
        name=run.info.run_name,
        pipeline=run.data.tags.get(_PIPELINE_RUN),
        user=run.data.tags.get("mlflow.user") or run.info.user_id,
        started=_moment(run.info.start_time),
        page=f"#/experiments/{run.info.experiment_id}/runs/{run_id}",
    )


def _environment(provenance: Provenance) -> Link:
    made, lineage = provenance.environment, provenance.lineage
    return _link(
        "software",
        vicur=made.vicur or lineage.package,
        commit=made.revision,
        code=lineage.code,
        python=made.python,
        packages=made.packages,
        device=made.device,
        processes=made.processes,
        threads=made.threads,
    )


def _teacher(provenance: Provenance) -> Link:
    settings = provenance.training.get("teacher") or {"type": provenance.lineage.teacher}
    if not isinstance(settings, Mapping):
        settings = {"type": str(settings)}
    facts = {name: value for name, value in settings.items() if value not in (None, "", {})}
    return _link("teacher", type=facts.pop("type", None), privilege=provenance.lineage.privilege, **facts)


def _cues(provenance: Provenance) -> Link:
    cues = provenance.cues
    provider = provenance.run.get("cues", {}).get("provider", {})
    asked = {name: provider.get(name) for name in ("model", "url", "prompt")} if cues.provider == "endpoint" else {}
    grounded = (
        "no annotations to compare with" if cues.grounded_share is None else f"{percent(cues.grounded_share)} grounded"
    )
    leaking = (
        None if cues.answer_leak_share is None else f"{grounded}, {percent(cues.answer_leak_share)} leak the answer"
    )
    if cues.treated and leaking is not None:
        leaking += "; by policy: " + ", ".join(
            f"{count:,} {name.replace('/', ' ')}" for name, count in cues.treated.items()
        )
    return _link(
        "cues", provider=cues.provider, **asked, sha256=cues.sha256, fingerprint=cues.fingerprint, audit=leaking
    )


def _skipped(provenance: Provenance) -> int | None:
    # An earlier release did not record it.
    return provenance.data.skipped if provenance.data.examples else None


def _source(provenance: Provenance) -> Link:
    data = provenance.run.get("data", {})
    kind = data.get("type") or provenance.data.source.get("type")
    settings = {name: value for name in _SOURCES if (value := data.get(name) or provenance.data.source.get(name))}
    if kind == "digit_scenes":
        return _link(
            "source", type=kind, rendered="from the handwritten digits of scikit-learn", seed=provenance.data.seed
        )
    if kind == "unknown":
        kind = None
    return _link("source", type=kind, **(settings if data else {**settings, "address": None}))


def _moment(milliseconds: int | None) -> str | None:
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def lines_of(chain: Chain) -> Iterator[str]:
    """Yield the chain as text: a line for each fact, under the name of its link."""
    aliases = f" ({', '.join(chain.aliases)})" if chain.aliases else ""
    yield f"{chain.model} version {chain.version}{aliases}"
    for link in chain.links:
        yield ""
        yield link.name
        for name, value in link.facts.items():
            yield from _fact(name, value)
        for name in link.unknown:
            yield f"  {name:14} unknown"


def _fact(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, list) and len(value) > 1:
        yield f"  {name:14} {value[0]}"
        for each in value[1:]:
            yield f"  {'':14} {each}"
        return
    yield f"  {name:14} {_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        # As --set takes them.
        return ", ".join(f"{key}={_text(each)}" for key, each in value.items() if each not in (None, {}, []))
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)
