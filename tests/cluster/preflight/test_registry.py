"""A new check is one registered function: everything else derives from the registry."""

from __future__ import annotations

import pytest

from tests.cli.calling import Command, caller
from vicur.cluster.connection import NoClusterError
from vicur.cluster.preflight import laptop_checks, registry, run_checks, run_preflight, step_checks
from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.registry import check, definitions
from vicur.config.preflight import PreflightConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError

NEEDS = PreflightConfig(free_gib=0, queue="gpus")


@pytest.fixture(autouse=True)
def fake_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a check for the first two characters of the queue's name. The second one finds no cluster."""
    registered = {each.name: each for each in definitions()}
    monkeypatch.setattr(registry, "_DEFINITIONS", registered)

    @check(
        "weather {}",
        topic="cluster",
        when=lambda target: target.needs.queue is not None,
        each=lambda target: target.needs.queue[:2],
        requires=lambda target: f"sunshine in {target.needs.namespace}",
    )
    def weather(target: Target, subject: str) -> Finding:
        if subject == "p":
            raise NoClusterError("no cluster is configured.", remedy="Get one.")
        return Finding("failed", f"rain over {subject} on the {target.place}", "Take an umbrella.")


def test_registered_check_is_part_of_doctor(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    vicur: Command = caller(monkeypatch, capfd)
    result = vicur("doctor", "--need", "queue=gpus", "--need", "free_gib=0")
    assert result.code == 0, "only runs in a cluster need it"
    assert "rain over g on the laptop" in result.output
    assert "A run requires sunshine in vicur" in result.output
    assert vicur("doctor", "--cluster", "--need", "queue=gpus").code == 1


def test_registered_check_fails_the_first_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VicurError, match="weather g, weather p"):
        run_preflight(NEEDS, TrackingConfig())
    assert "rain over g on the step" in capsys.readouterr().out


def test_check_that_the_target_does_not_need_is_left_out() -> None:
    names = {each.name for each in laptop_checks(PreflightConfig(), TrackingConfig())}
    assert not any(name.startswith("weather") for name in names)


def test_two_checks_with_one_name_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"two checks named 'quota'"):
        check("quota", topic="cluster")(lambda _: Finding("ok", "fine"))


def test_every_check_that_needs_a_cluster_reports_what_it_requires_without_one() -> None:
    needs = PreflightConfig.model_validate({"queue": "gpus", "pool": {"nodes": 2}, "free_gib": 0})
    checks = [each for each in step_checks(needs, TrackingConfig()) if not each.name.startswith("weather")]
    findings = {each.check.name: each.finding.message for each in run_checks(checks, 20)}
    for name in ("pipelines", "gpu pool", "quota", "queue", "trainer", "access"):
        assert "A run requires" in findings[name], name
    assert "no cluster is configured" in findings["cluster"]
