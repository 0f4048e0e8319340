"""The shapes of what goes in and out of the API."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class NewMessage(BaseModel):
    """What a client sends."""

    author: str = Field(min_length=1, max_length=60)
    text: str = Field(min_length=1, max_length=1000)


class Message(NewMessage):
    """What the feed keeps."""

    id: int
    posted_at: datetime


class Upload(BaseModel):
    """What arrived in an upload."""

    bytes: int
    pieces: int
    sha256: str


class Health(BaseModel):
    """How this worker is doing."""

    status: str
    messages: int
    subscribers: int
