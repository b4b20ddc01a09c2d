"""Cues from a model behind an endpoint: requests, replies, failures and the cache."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from tests.cues.openai_double import OpenAIDouble, ReceivedRequest, Reply, openai_double
from tests.moto_s3 import empty_bucket, use_s3
from vicur.config.cues import CueProviderConfig, CuesConfig, EndpointCues
from vicur.cues.cue_cache import CACHE_FILE, CueCache
from vicur.cues.cue_prompt import CUE_PROMPTS, escape_control_tokens
from vicur.cues.endpoint import EndpointProvider
from vicur.cues.providers import NoCue
from vicur.data.schema import Example
from vicur.errors import VicurError

KEY = "sk-very-secret"


def image(kind: str = "PNG", shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade % 256, shade // 256, 0)).save(buffer, kind)
    return buffer.getvalue()


def example(number: int = 0, **changes: Any) -> Example:
    fields = {
        "id": f"e{number}",
        "images": (image(shade=number),),
        "question": f"What is the sum of row {number}?",
        "answer": "4711",
        "rationale": "It is 4700 plus 11: rationale.",
        "cue": "Its own cue.",
        "source": "test",
        "split": "distill",
        "metadata": {"scene": "metadata"},
    }
    return Example(**{**fields, **changes})


@dataclass
class EndpointRun:
    """Runs of the endpoint provider against a double."""

    work: Path
    reply_to: Callable[[ReceivedRequest], Reply] = lambda _: Reply("Seen.")
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    cache_at: str | None = None
    double: OpenAIDouble | None = None

    def cues(self, *examples: Example) -> list[str | NoCue]:
        with openai_double(self.reply_to) as self.double:
            config = EndpointCues(url=self.double.url, **{"model": "vlm", "retries": 0, **self.settings})
            return list(EndpointProvider(config, self.seed, CueCache.at(self.work, self.cache_at)).cues(examples))

    @property
    def requests(self) -> list[ReceivedRequest]:
        assert self.double is not None
        return self.double.requests


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VICUR_CUE_API_KEY", raising=False)
    # The client implements the backoff; shorten it for the tests.
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


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


@pytest.mark.parametrize("with_key", [True, False])
def test_the_key_comes_only_from_its_own_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_key: bool
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-another-service")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    if with_key:
        monkeypatch.setenv("VICUR_CUE_API_KEY", KEY)
    run = EndpointRun(tmp_path)
    assert run.cues(example()) == ["Seen."]
    headers = run.requests[0].headers
    assert headers.get("authorization") == (f"Bearer {KEY}" if with_key else None)
    assert "of-another-service" not in str(headers)


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


@pytest.mark.parametrize(
    "trouble",
    [
        Reply("busy", status=429, headers={"Retry-After": "0.01"}),
        Reply("starting", status=503),
        Reply("broken", status=500),
        Reply(drop=True),
    ],
)
def test_transient_failures_are_retried(tmp_path: Path, trouble: Reply) -> None:
    run = EndpointRun(tmp_path, lambda request: trouble if request.number < 3 else Reply("Seen."), {"retries": 2})
    assert run.cues(example()) == ["Seen."]
    assert len(run.requests) == 3


def test_an_endpoint_that_is_down_stops_the_extraction_retryably(tmp_path: Path) -> None:
    run = EndpointRun(tmp_path, lambda _: Reply("starting", status=503), {"concurrency": 4})
    with pytest.raises(VicurError, match=r"did not answer \d+ requests in a row.* status 503") as caught:
        run.cues(*map(example, range(200)))
    assert caught.value.retryable
    assert "are cached" in caught.value.remedy
    assert len(run.requests) < 40


def test_occasional_failures_do_not_stop_the_extraction(tmp_path: Path) -> None:
    def reply_to(request: ReceivedRequest) -> Reply:
        number = int(request.text.split("row ")[1].split("?")[0])
        return Reply("Seen.") if number % 7 == 0 else Reply("broken", status=500)

    cues = EndpointRun(tmp_path, reply_to, {"concurrency": 1}).cues(*map(example, range(30)))
    assert [number for number, cue in enumerate(cues) if cue == "Seen."] == [0, 7, 14, 21, 28]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(f"bad key {KEY}", status=401), r"/v1: the endpoint rejects the key \(status 401\)"),
        (Reply("forbidden", status=403), r"rejects the key \(status 403\)"),
        (Reply("The model `vlm` does not exist.", status=404), r"does not serve the model 'vlm' .*does not exist"),
        (Reply(raw=b"<html>Sign in</html>"), "the reply is not one of the OpenAI API"),
        (
            Reply(raw=b"<html>Sign in</html>", headers={"Content-Type": "text/html"}),
            r"not one of the OpenAI API \(<html>",
        ),
        (Reply(raw=b'{"choices": []}'), "the reply is not one of the OpenAI API"),
        (Reply(raw=b"[]"), "the reply is not one of the OpenAI API"),
    ],
)
def test_an_error_of_every_request_stops_the_extraction_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reply: Reply, message: str
) -> None:
    monkeypatch.setenv("VICUR_CUE_API_KEY", KEY)
    caplog.set_level(logging.INFO)
    run = EndpointRun(tmp_path, lambda _: reply, {"concurrency": 2})
    with pytest.raises(VicurError, match=message) as caught:
        run.cues(*map(example, range(50)))
    assert not caught.value.retryable
    assert len(run.requests) < 50
    assert KEY not in f"{caught.value}{caplog.text}"


@pytest.mark.parametrize("key", [f"{KEY}\nx", f"{KEY}ü"])
def test_an_invalid_key_is_rejected_without_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    monkeypatch.setenv("VICUR_CUE_API_KEY", key)
    with pytest.raises(VicurError, match="VICUR_CUE_API_KEY: the key contains spaces, line breaks") as caught:
        EndpointRun(tmp_path).cues(example())
    assert KEY not in f"{caught.value}{caplog.text}"


def test_a_trailing_line_break_of_the_key_is_stripped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VICUR_CUE_API_KEY", f"{KEY}\n")
    run = EndpointRun(tmp_path)
    assert run.cues(example()) == ["Seen."]
    assert run.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_status_401_without_a_key_names_the_variable_to_set(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"requires a key \(status 401\), but VICUR_CUE_API_KEY is not set"):
        EndpointRun(tmp_path, lambda _: Reply("no", status=401)).cues(example())


def test_a_rejected_request_is_logged_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VICUR_CUE_API_KEY", KEY)
    EndpointRun(tmp_path, lambda _: Reply(f"8193 tokens, {KEY}", status=400)).cues(example())
    assert "e0: the endpoint rejected the request (status 400: Error code: 400" in caplog.text
    assert "8193 tokens, ***" in caplog.text
    assert KEY not in caplog.text


def test_an_interrupted_extraction_requests_only_missing_cues(tmp_path: Path) -> None:
    def down_after_ten(request: ReceivedRequest) -> Reply:
        number = int(request.text.split("row ")[1].split("?")[0])
        return Reply(f"Row {number}.") if number < 10 else Reply("down", status=503)

    first = EndpointRun(tmp_path, down_after_ten, {"concurrency": 1})
    with pytest.raises(VicurError, match="did not answer"):
        first.cues(*map(example, range(20)))
    # Cut off the last line, as if the process had been killed while writing it.
    cache = tmp_path / CACHE_FILE
    cache.write_bytes(cache.read_bytes()[:-20])

    second = EndpointRun(tmp_path, lambda _: Reply("Later."), {"concurrency": 8, "timeout": 5.0})
    cues = second.cues(*map(example, range(20)))
    assert cues == [f"Row {number}." for number in range(9)] + ["Later."] * 11
    assert len(second.requests) == 11
    third = EndpointRun(tmp_path)
    assert third.cues(*map(example, range(20))) == cues
    assert third.requests == []


@pytest.mark.parametrize("address", ["s3://cues/kept", "{folder}/kept"])
def test_a_persistent_cache_lets_another_machine_resume(
    tmp_path: Path, s3_address: str, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def down_after_ten(request: ReceivedRequest) -> Reply:
        number = int(request.text.split("row ")[1].split("?")[0])
        return Reply(f"Row {number}.") if number < 10 else Reply("down", status=503)

    use_s3(s3_address, monkeypatch)
    place = address.format(folder=tmp_path)
    with empty_bucket("cues"):
        first = EndpointRun(tmp_path / "first", down_after_ten, {"concurrency": 1}, cache_at=place)
        with pytest.raises(VicurError, match="did not answer"):
            first.cues(*map(example, range(20)))
        second = EndpointRun(tmp_path / "second", lambda _: Reply("Later."), cache_at=place)
        cues = second.cues(*map(example, range(20)))
        third = EndpointRun(tmp_path / "third", cache_at=place)
        assert third.cues(*map(example, range(20))) == cues
    assert cues == [f"Row {number}." for number in range(10)] + ["Later."] * 10
    assert len(second.requests) == 10
    assert third.requests == []


@pytest.mark.parametrize(
    "other",
    [{"model": "another"}, {"max_tokens": 32}, {"seed": 1}, {"question": "Another?"}, {"images": (image(shade=9),)}],
)
def test_a_different_request_is_not_served_from_the_cache(tmp_path: Path, other: dict[str, Any]) -> None:
    EndpointRun(tmp_path).cues(example())
    settings = {name: value for name, value in other.items() if name in ("model", "max_tokens")}
    changes = {name: value for name, value in other.items() if name in ("question", "images")}
    again = EndpointRun(tmp_path, lambda _: Reply("Anew."), settings, seed=other.get("seed", 0))
    assert again.cues(example(**changes)) == ["Anew."]


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


def test_a_missing_client_library_names_the_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(VicurError, match=r"Install vicur\[endpoint\]"):
        EndpointProvider(EndpointCues(url="http://a/v1", model="vlm"), 0, tmp_path)
