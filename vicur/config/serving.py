"""What a server of students takes of a request, and how much of it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from vicur.config.section import Section

_BASE64 = 4 / 3
"""Characters for a byte of an image."""


class ServerLimits(Section):
    """Bounds of one server. A request beyond one of them is refused with the reason, and the server goes on."""

    max_model_len: int | None = Field(None, ge=16)
    """Tokens of the longest prompt with its answer, visual tokens included. Left out, as many as the model takes, but no more than 8192: a
    server for a student with cue recovery holds a whole prompt in one forward."""
    max_tokens: int = Field(2048, ge=1)
    """Tokens of the longest answer. An answer is cut off there (``finish_reason`` is ``length``) also where the request names no bound."""
    max_images: int = Field(4, ge=0, le=64)
    """Images of a request."""
    max_image_pixels: int = Field(16_777_216, ge=1)
    """Pixels of an image before it is resized for the model (16,777,216 are 4096 x 4096). It is looked at before it is decoded."""
    max_image_bytes: int = Field(20 * 2**20, ge=1)
    """Bytes of an image's file."""
    max_request_bytes: int = Field(32 * 2**20, ge=1024)
    """Bytes of a request's body, its images in base64 included."""
    max_choices: int = Field(4, ge=1)
    """Answers to one request (``n``)."""
    max_requests: int = Field(128, ge=1)
    """Requests that are under way at once; the next is told to come again (429)."""

    @model_validator(mode="after")
    def _an_image_fits_into_a_request(self) -> Self:
        if self.max_images and self.max_image_bytes * _BASE64 > self.max_request_bytes:
            raise ValueError(
                "max_request_bytes has no room for an image of max_image_bytes, which takes a third more in base64"
            )
        return self
