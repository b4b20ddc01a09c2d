"""The prompts of a trained student, which servers and the registry read from its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vicur.config.prompts import PromptConfig
from vicur.config.training import TrainConfig
from vicur.prompts.record import prompts_of, with_system_message


def test_the_record_of_a_training_holds_its_prompts(tmp_path: Path) -> None:
    prompts = PromptConfig(system="Be brief.", choices_template="{question}\n({letter}) {choice}")
    config = TrainConfig(prompts=prompts)
    record = {"method": "vicur", "training": config.filled_in().model_dump(mode="json")}
    (tmp_path / "vicur.json").write_text(json.dumps(record))
    assert prompts_of(tmp_path) == prompts


@pytest.mark.parametrize(
    "content", [None, "{}", "no JSON", '{"training": {"steps": 3}}', '{"training": {"prompts": {"system": 3}}}']
)
def test_a_folder_without_such_a_record_has_default_prompts(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "vicur.json").write_text(content)
    assert prompts_of(tmp_path) == PromptConfig()


def test_a_system_message_is_added_only_where_there_is_none() -> None:
    question = {"role": "user", "content": "What?"}
    own = {"role": "system", "content": "Own."}
    assert with_system_message([question], "Be brief.") == [{"role": "system", "content": "Be brief."}, question]
    assert with_system_message([own, question], "Be brief.") == [own, question]
    assert with_system_message([question], None) == [question]
