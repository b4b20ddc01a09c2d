"""Limits on the requests that a server of students accepts."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from vicur.config.section import Section

_BASE64 = 4 / 3
"""Base64 characters per byte."""


class _RequestLimits(Section):
    """Limits that servers of both kinds have. Subclasses have further ones."""

    max_images: int = Field(4, ge=0)
    """Maximum number of images in a request, or in a row of it."""
    max_image_pixels: int = Field(16_777_216, ge=1)
    """Maximum number of pixels of an image before it is resized for the model (16,777,216 is 4096 x 4096). Checked before decoding."""
    max_image_bytes: int = Field(20 * 2**20, ge=1)
    """Maximum size of an image or video file in bytes."""
    max_request_bytes: int = Field(32 * 2**20, ge=1024)
    """Maximum size of a request body in bytes, including its images in base64."""
    receive_seconds: float = Field(60.0, gt=0)
    """Maximum time in seconds until the body of a request has arrived."""

    # Otherwise requests with an image of the allowed size would be rejected for another reason.
    @model_validator(mode="after")
    def _an_image_fits_into_a_request(self) -> Self:
        if self.max_images and self.max_image_bytes * _BASE64 > self.max_request_bytes:
            raise ValueError(
                f"max_request_bytes ({self.max_request_bytes}) must be at least 4/3 of max_image_bytes ({self.max_image_bytes}), "
                "because images are sent in base64"
            )
        return self


class ServerLimits(_RequestLimits):
    """Limits on requests. A request that exceeds one is rejected with the reason; the server keeps running."""

    max_model_len: int | None = Field(None, ge=16)
    """Maximum number of tokens of a prompt and its answer, including visual tokens. Default: the model's maximum, but at most 8192, because
    a server for a student with cue recovery processes a whole prompt in one forward pass."""
    max_tokens: int = Field(2048, ge=1)
    """Maximum number of tokens of an answer, also for requests without a limit. Longer ones are cut off with ``finish_reason: length``."""
    max_images: int = Field(4, ge=0, le=64)
    """Maximum number of images in a request."""
    max_choices: int = Field(4, ge=1)
    """Maximum number of answers to one request (``n``)."""
    max_requests: int = Field(128, ge=1)
    """Maximum number of concurrent requests; the next one is rejected with status 429."""


class ModelLimits(_RequestLimits):
    """Limits of a registered model that MLflow loads or serves. What exceeds one is rejected with the reason; the server keeps running.

    The limits of a row (images, text, tokens) fail that row only. Those of a request fail the request.
    """

    max_rows: int = Field(64, ge=1)
    """Maximum number of rows in a request. Python callers have no such limit."""
    max_tokens: int | None = Field(None, ge=1)
    """Maximum number of tokens of an answer. Default: 2048, or the number that the student was evaluated with if that is larger."""
    max_prompt_tokens: int = Field(8192, ge=16)
    """Maximum number of tokens of a prompt, including visual tokens; at most the model's context in any event."""
    max_batch_tokens: int = Field(16_384, ge=16)
    """Maximum number of tokens, prompts and answers together, that are computed at once. Affects only memory and speed."""
    max_text: int = Field(100_000, ge=1)
    """Maximum number of characters of a row's question and choices."""
    max_images: int = Field(16, ge=0, le=1024)
    """Maximum number of images in a row."""
    max_frames: int = Field(1024, ge=1)
    """Maximum number of frames of a video that is sent as images."""
    max_request_pixels: int = Field(67_108_864, ge=1)
    """Maximum number of pixels of all images of a request."""
    max_held_bytes: int = Field(128 * 2**20, ge=1024)
    """Maximum size in bytes of all request bodies that the server holds at a time; a further request is rejected with status 429."""
    max_requests: int = Field(64, ge=1)
    """Maximum number of requests in progress or waiting; a further request is rejected with status 429."""
