"""What a cue model is sent about a video."""

from __future__ import annotations

from tests.videos import moving, png
from vicur.config.cues import EndpointCues
from vicur.cues.cue_model import MOST_FRAMES, CueModel
from vicur.data.schema import Example

FRAMES = tuple(map(png, moving("right", "red", frames=40)))


def film(frames: int) -> Example:
    return Example(
        id="a",
        images=FRAMES[:frames],
        question="First <video> then: where to?",
        answer="right",
        source="s",
        split="test",
        metadata={"video": {"timestamps": [n / 2 for n in range(frames)], "fps": 2.0}},
    )


def parts(frames: int) -> list[dict[str, object]]:
    request = CueModel(EndpointCues(url="http://127.0.0.1:9/v1", model="m"), seed=0).request(film(frames))
    assert "a video shows" in request["messages"][0]["content"]
    return request["messages"][1]["content"]


def test_frames_are_sent_in_order_at_the_place_of_the_video_each_after_its_time() -> None:
    sent = parts(3)
    assert [part["type"] for part in sent] == ["text", *["text", "image_url"] * 3, "text"]
    assert [part["text"] for part in sent[1:-1:2]] == ["0.0 seconds:", "0.5 seconds:", "1.0 seconds:"]
    assert "question about the video:\n\nFirst " in str(sent[0]["text"])
    assert str(sent[-1]["text"]).startswith(" then: where to?")


def test_a_long_video_is_sent_as_frames_spread_over_it() -> None:
    times = [str(part["text"]) for part in parts(40) if str(part.get("text", "")).endswith("seconds:")]
    assert len(times) == MOST_FRAMES
    assert (times[0], times[-1]) == ("0.0 seconds:", "19.5 seconds:")
