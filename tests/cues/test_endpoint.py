"""Cues from a model behind an endpoint: requests, replies and settings."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from tests.cues.endpoint_run import EndpointRun, example, image
from tests.cues.openai_double import ReceivedRequest, Reply
from vicur.config.cues import CueProviderConfig, CuesConfig, EndpointCues
from vicur.config.prompts import PixelBudget, PixelBudgets, PromptConfig
from vicur.cues.cue_cache import CACHE_FILE
from vicur.cues.cue_model import CueModel
from vicur.cues.cue_prompt import CUE_PROMPTS, escape_control_tokens
from vicur.cues.endpoint import EndpointProvider
from vicur.cues.providers import NoCue
from vicur.errors import VicurError

pytestmark = pytest.mark.usefixtures("endpoint_environment")


def test_a_request_contains_image_and_question_but_not_the_answer(tmp_path: Path) -> None:
    run = EndpointRun(tmp_path, lambda _: Reply(" The row holds\n 7 and 5. "), seed=3)
    one = example(images=(image("PNG"), image("JPEG")), question="What is x?")
    assert run.cues(one) == ["The row holds 7 and 5."]
    [request] = run.requests
    assert request.images == [("image/png", one.images[0]), ("image/jpeg", one.images[1])]
    assert "\n\nWhat is x?\n\n" in request.text
    sent = json.dumps(
        {**request.body, "messages": [m if m["role"] == "system" else request.text for m in request.body["messages"]]}
    )
    assert not any(secret in sent for secret in ("4711", "rationale", "Its own cue", "metadata", "e0", "distill"))
    assert {name: request.body[name] for name in ("model", "temperature", "max_tokens")} == {
        "model": "vlm",
        "temperature": 0.0,
        "max_tokens": 160,
    }


def test_the_sampling_seed_derives_from_the_root_seed(tmp_path: Path) -> None:
    seeds = []
    for number, root in enumerate((0, 0, 1)):
        run = EndpointRun(tmp_path / str(number), seed=root)
        (tmp_path / str(number)).mkdir()
        run.cues(example())
        seeds.append(run.requests[0].body["seed"])
    assert seeds[0] == seeds[1] != seeds[2]
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_control_tokens_in_a_question_stay_text(tmp_path: Path) -> None:
    run = EndpointRun(tmp_path)
    run.cues(example(question="Is <|im_end|><|image_pad|> in it, where 2 <|x|?"))
    assert "Is < |im_end| >< |image_pad| > in it, where 2 < |x|?" in run.requests[0].text
    assert escape_control_tokens("<image>\n<IMG_CONTEXT> <video>") == "< image>\n< IMG_CONTEXT> < video>"
    assert escape_control_tokens("2 < x | y > 1, <b>, 3 <| 4") == "2 < x | y > 1, <b>, 3 < | 4"


def test_cues_keep_the_order_of_examples_with_concurrent_requests(tmp_path: Path) -> None:
    both = threading.Barrier(4)

    def reply_to(request: ReceivedRequest) -> Reply:
        both.wait(30)  # replies only once four requests have arrived
        number = int(request.text.split("row ")[1].split("?")[0])
        return Reply(f"Row {number}.", after=0.02 * (8 - number))

    run = EndpointRun(tmp_path, reply_to, {"concurrency": 4})
    assert run.cues(*map(example, range(8))) == [f"Row {number}." for number in range(8)]
    assert run.double is not None
    assert run.double.most_concurrent == 4


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(None), "the model answered nothing"),
        (Reply(" \n"), "the model answered nothing"),
        (Reply("<think>7 and 5, so 12.</think>"), "the model answered nothing"),
        (Reply("NONE"), "the model sees nothing that the question asks about"),
        (Reply("None."), "the model sees nothing that the question asks about"),
        (Reply("The row holds", finish_reason="length"), "the model's answer was cut off at max_tokens"),
        (Reply("I can't", finish_reason="content_filter"), "the endpoint held the model's answer back"),
        (Reply("too long", status=400), "the endpoint refused the request (status 400)"),
        (Reply("too large", status=413), "the endpoint refused the request (status 413)"),
        (Reply("no image", status=422), "the endpoint refused the request (status 422)"),
        (Reply("broken", status=500), "the endpoint answered with status 500"),
        (Reply("busy", status=429), "the endpoint answered with status 429"),
        (Reply(drop=True), "the endpoint could not be reached"),
        (Reply("late", after=1.0), "no answer came within 0.3 s"),
    ],
)
def test_an_example_without_a_usable_reply_is_skipped_with_the_reason(
    tmp_path: Path, reply: Reply, reason: str
) -> None:
    run = EndpointRun(tmp_path, lambda request: reply if "row 1?" in request.text else Reply("Seen."), {"timeout": 0.3})
    if not reply.after:
        run.settings = {}
    assert run.cues(*map(example, range(3))) == ["Seen.", NoCue(reason), "Seen."]


def test_the_chain_of_thought_is_removed_from_the_cue(tmp_path: Path) -> None:
    run = EndpointRun(tmp_path, lambda _: Reply("7 plus 5 is 12.</think>\n\nThe row holds 7 and 5."))
    assert run.cues(example()) == ["The row holds 7 and 5."]


def test_an_example_without_an_image_is_not_requested(tmp_path: Path) -> None:
    run = EndpointRun(tmp_path)
    assert run.cues(example(images=())) == [NoCue("the example has no image")]
    assert run.requests == []


def test_a_lone_surrogate_is_replaced(tmp_path: Path) -> None:
    raw = Reply("x").body("vlm").replace(b'"x"', b'"7 \\ud83d and 5"')
    assert EndpointRun(tmp_path, lambda _: Reply(raw=raw)).cues(example()) == ["7 ? and 5"]
    assert json.loads((tmp_path / CACHE_FILE).read_text())["cue"] == "7 ? and 5"


def test_the_identity_excludes_address_and_transport_settings() -> None:
    def identity(**changes: Any) -> dict[str, Any]:
        provider = {"type": "endpoint", "url": "http://a:8000/v1", "model": "vlm", **changes}
        return CuesConfig.model_validate({"provider": provider}).identity()

    base = identity()
    assert identity(url="https://b/v1", concurrency=64, timeout=9.0, retries=1) == base
    assert identity(model="other") != base
    assert identity(max_tokens=32) != base
    assert "http://a:8000" not in json.dumps(base)
    assert base["provider"]["prompt"] == "v1"
    assert CuesConfig().identity() == CuesConfig().model_dump(mode="json")


def test_the_fingerprint_names_the_model_and_pins_the_prompt_of_a_version(tmp_path: Path) -> None:
    config = EndpointCues(url="http://a/v1", model="Qwen/Qwen3-VL-32B-Instruct")
    assert EndpointProvider(config, 0, tmp_path).fingerprint == "Qwen/Qwen3-VL-32B-Instruct, prompt v1 (0a1bf051b465)"


def test_each_prompt_contains_the_question() -> None:
    assert all("What?" in prompt.render("What?") for prompt in CUE_PROMPTS.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "cue-model:8000/v1"}, "is not the address of an API"),
        ({"url": "ftp://cue-model/v1"}, "is not the address of an API"),
        ({"url": "http://cue-model:80a/v1"}, "is not the address of an API"),
        ({"url": "http://user:secret@host/v1"}, "put an API key into the environment variable VICUR_CUE_API_KEY"),
        ({"url": "http://host/v1?api_key=secret"}, "put an API key into the environment variable VICUR_CUE_API_KEY"),
        ({"api_key": "secret"}, "api_key"),
        ({"model": ""}, "model"),
        ({"prompt": "v9"}, "prompt"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_invalid_settings_are_rejected(changes: dict[str, Any], message: str) -> None:
    adapter: TypeAdapter[CueProviderConfig] = TypeAdapter(CueProviderConfig)
    with pytest.raises(ValidationError, match=message):
        adapter.validate_python({"type": "endpoint", "url": "http://host/v1", "model": "vlm", **changes})


def test_a_prompt_that_is_too_long_for_the_model_is_not_requested(tmp_path: Path) -> None:
    run = EndpointRun(tmp_path, settings={"max_prompt_tokens": 700})
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 640)).save(buffer, "PNG")
    assert run.cues(
        example(0, question="How many words? " * 400), example(1, images=(buffer.getvalue(),) * 2), example(2)
    ) == [*[NoCue("the prompt is longer than cues.provider.max_prompt_tokens = 700")] * 2, "Seen."]
    assert len(run.requests) == 1
    # Within its pixel budget, the image is scaled down before it is sent.
    small = PromptConfig(pixels=PixelBudgets(teacher=PixelBudget(max=100_000)))
    model = CueModel(EndpointCues(url="http://vlm:8000/v1", model="vlm"), 0, small)
    assert model.least_tokens(example(images=(buffer.getvalue(),))) - model.least_tokens(example()) in range(80, 98)


def test_a_damaged_image_is_an_error_that_names_its_example() -> None:
    damaged = example(images=(b"not an image",))
    small = PromptConfig(pixels=PixelBudgets(teacher=PixelBudget(max=100_000)))
    model = CueModel(EndpointCues(url="http://vlm:8000/v1", model="vlm"), 0, small)
    with pytest.raises(VicurError, match=damaged.id):
        model.least_tokens(damaged)
    with pytest.raises(VicurError, match=damaged.id):
        model.request(damaged)
