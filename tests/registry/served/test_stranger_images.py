"""Hostile images in a stranger's requests to ``mlflow models serve``."""

from __future__ import annotations

import base64
import time

import pytest
from PIL import Image

from tests.registry.model_server import ModelServer
from tests.registry.served.asking import question
from tests.registry.served.hostile import READ, REFUSED, saved
from vicur.data.schema import Example


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_image_is_refused_with_its_row(server: ModelServer, example: Example, name: str) -> None:
    make, problem = REFUSED[name]
    bad = {"question": "What?", "image": base64.b64encode(make()).decode()}
    began = time.monotonic()
    first, second = server.ask(bad, question(example))
    assert first["error"].startswith("image: ")
    assert problem in first["error"]
    assert "/" not in first["error"].replace("image/", "")
    assert second["error"] is None
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", READ)
def test_an_unusual_image_costs_no_more_than_its_first_frame(server: ModelServer, name: str) -> None:
    began = time.monotonic()
    [answer] = server.ask({"question": "What?", "image": base64.b64encode(READ[name]()).decode()})
    assert answer["error"] is None
    assert time.monotonic() - began < 20


def test_a_request_has_a_limited_number_of_pixels(server: ModelServer) -> None:
    image = base64.b64encode(saved(Image.new("L", (4096, 4096)), "PNG")).decode()
    answers = server.ask(*[{"question": "What?", "image": image}] * 6, max_new_tokens=1)
    assert [each["error"] is None for each in answers] == [True] * 4 + [False] * 2
    assert "max_request_pixels" in answers[-1]["error"]
