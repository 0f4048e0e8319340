"""The feed's state: recent messages, and the WebSocket clients that want new ones.

Both live in one worker's memory: with several workers each has a feed of its
own. A real service would put a database and a broker here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone

from feed.models import Message, NewMessage

KEPT_MESSAGES = 1000
KEPT_PER_SUBSCRIBER = 100


class Store:
    """The newest KEPT_MESSAGES messages."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque(maxlen=KEPT_MESSAGES)
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, new: NewMessage) -> Message:
        """Keep a message and give it its number."""
        self._last_id += 1
        message = Message(id=self._last_id, posted_at=datetime.now(timezone.utc), **new.model_dump())
        self._messages.append(message)
        return message

    def newest(self, limit: int) -> list[Message]:
        """At most `limit` messages, newest first."""
        return list(self._messages)[::-1][:limit]

    def find(self, message_id: int) -> Message | None:
        """One message, or None if it is unknown or no longer kept."""
        return next((message for message in self._messages if message.id == message_id), None)


class Hub:
    """Hands each published text to every subscriber."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[str]] = set()

    def __len__(self) -> int:
        return len(self._queues)

    @contextlib.contextmanager
    def subscription(self) -> Iterator[asyncio.Queue[str]]:
        """A queue that receives every text published while the context is open."""
        queue: asyncio.Queue[str] = asyncio.Queue(KEPT_PER_SUBSCRIBER)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def publish(self, text: str) -> None:
        """Give `text` to all; a subscriber that does not keep up loses its oldest text."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(text)
