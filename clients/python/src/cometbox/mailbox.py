"""Reading a mailbox by long-poll, over lost networks, until it is closed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from random import random
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import quote

from . import errors
from .http import Client, Options, from_json


@asynccontextmanager
async def open(
    url: str, app: str, body: Any = None, *, headers: Mapping[str, str] = {}, options: Options = Options(),
) -> AsyncIterator["Mailbox"]:
    """Asks the app's plugins for a mailbox. At the end it is left to expire, unless closed before."""
    async with Client(url, app, options=options) as client:
        box, retry, unheard = None, Retry(), False
        while box is None:
            try:
                box = await client.request("POST", "/mailboxes", body, more=headers)
            except errors.CometboxError as error:
                # An opening without an answer, or not kept, may have given the name away: to us.
                await retry.after(error, options, unheard and isinstance(error, errors.NameTaken) or None)
                unheard |= error.code in ("network", "http_error", "not_kept")
        client.key, reply = box["key"], from_json(box.get("reply"))
        yield Mailbox(client, box["mailbox"], box["cursor"], reply)


@asynccontextmanager
async def resume(
    url: str, app: str, name: str, key: str, cursor: int, *, options: Options = Options()
) -> AsyncIterator["Mailbox"]:
    """Goes on where an earlier reader was. Whether the mailbox still exists shows by reading it."""
    async with Client(url, app, key, options) as client:
        yield Mailbox(client, name, cursor)


class Message(NamedTuple):
    seq: int
    data: Any  # a text is str, bytes are bytes, and JSON is what json.loads makes of it


class Mailbox(AsyncIterator[Message]):
    """Comes from `open` and `resume`. Asking for the next message confirms the one before."""
    lost = 0  # so many messages were dropped so far, because the mailbox was full

    def __init__(self, client: Client, name: str, cursor: int, reply: Any = None) -> None:
        self.name, self.key, self.reply = name, client.key, reply
        self.cursor = self._handed_out = cursor  # done up to here; the next read tells the gateway
        self._client, self._path = client, f"/mailboxes/{quote(name, safe='')}"
        self._retry, self._turn, self._waiting = Retry(), asyncio.Lock(), list[Message]()

    async def __anext__(self) -> Message:
        async with self._turn:  # a second read would displace the first
            if not self._client.over:
                self.cursor = self._handed_out
            while not self._waiting and not self._client.over:
                await self._read()
            if self._client.over:
                raise StopAsyncIteration
            self._handed_out = self._waiting[0].seq
            return self._waiting.pop(0)

    async def _read(self) -> None:
        # After a failure nothing is held, so what waits, or that the gateway is back, shows at once.
        client, started = self._client, monotonic()
        hold = 0 if self._retry.since else max(client.options.wait, 1)
        try:
            answer = await client.request("GET", f"{self._path}?cursor={self.cursor}&wait={hold}", wait=hold)
        except errors.CometboxError as error:
            return None if client.over else await self._retry.after(error, client.options)
        self.lost, self._retry.since = self.lost + answer.get("lost", 0), 0
        messages = [Message(m["seq"], from_json(m["data"])) for m in answer.get("messages", [])]
        self._waiting = [message for message in messages if message.seq > self.cursor]
        if hold or messages:
            self._retry.failures = 0
        if not self._waiting:
            self.cursor = self._handed_out = max(self.cursor, answer.get("cursor", 0))
            if hold and monotonic() - started < 0.5:
                await asyncio.sleep(1)  # something on the way cuts waits short: no running in circles

    async def send(self, data: Any, *, channel: str = "") -> Any:
        """The plugin's reply. Never sends twice: after a `NetworkError` it may have arrived."""
        path = f"{self._path}?channel={quote(channel, safe='')}" if channel else self._path
        return from_json((await self._client.request("POST", path, data)).get("reply"))

    async def close(self) -> None:
        """Ends the mailbox for good, with what waits in it."""
        self._client.over = True
        with suppress(errors.Closed, *errors.OPEN_AGAIN):  # it is gone
            await self._client.request("DELETE", self._path)


class Retry:
    """Backs off with full jitter, and raises what is final or has gone on for too long."""
    failures, since = 0, 0.0

    async def after(self, error: errors.CometboxError, options: Options, again: bool | None = None) -> None:
        self.since = self.since or monotonic()
        bound = min(options.retry_max, options.retry_min * 2 ** min(self.failures, 30))
        pause, self.failures = error.retry_after + random() * bound, self.failures + 1
        passing = error.status < 300 or error.status in (408, 429) or error.status >= 500
        again = passing and error.code != "rejected" if again is None else again  # a plugin's no is final
        if not again or monotonic() + pause - self.since > options.patience:
            self.since = 0  # who goes on nevertheless has new patience
            raise error
        logging.getLogger("cometbox").warning("%s; trying again in %.1f s", error, pause)
        await asyncio.sleep(pause)
