"""Publishing, for backends."""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from . import errors
from .http import Client, to_json
from .mailbox import Retry
Names = str | Iterable[str]


class Result(NamedTuple):
    queued: int  # mailboxes that took the message
    missing: list[str]  # addressed mailboxes that do not exist
    full: list[str]  # mailboxes that refused it
    dropped: int  # older messages that went to make room
    duplicate: bool = False  # it was published before under the same id, with this result


def item(
    data: Any, *, mailboxes: Names = (), groups: Names = (), except_: Names = (),
    ttl_ms: int | None = None, collapse: str | None = None, id: str | None = None,
) -> dict[str, Any]:
    """For a batch. Without an address it is the plugin's to route; `except_` wins over both."""
    names = {"mailboxes": mailboxes, "groups": groups, "except": except_}
    to = {key: [v] if isinstance(v, str) else list(v) for key, v in names.items()}
    return {"data": to_json(data), "to": to, "ttl_ms": ttl_ms, "collapse": collapse, "id": id}


class Publisher(Client):
    """With an `id` it is tried again; otherwise, after a `NetworkError`, it may have arrived."""
    async def publish(self, data: Any, **how: Any) -> Result:
        [result] = await self.batch([item(data, **how)])
        if isinstance(result, Exception):
            raise result
        return result

    async def batch(self, items: Iterable[dict[str, Any]]) -> list[Result | errors.CometboxError]:
        """What became of each `item(…)`. If one is malformed it raises, and nothing is published."""
        todo, retry = list(items), Retry()
        while True:
            try:
                results = (await self.request("POST", "/publish", todo))["results"]
                return [errors.error(**r["error"]) if "error" in r else Result(**r) for r in results]
            except errors.CometboxError as error:
                await retry.after(error, self.options, None if all(i.get("id") for i in todo) else False)


def publish_sync(url: str, app: str, key: str, data: Any, **how: Any) -> Result:
    """For programs without an event loop."""
    async def run() -> Result:
        async with Publisher(url, app, key) as publisher:
            return await publisher.publish(data, **how)
    return asyncio.run(run())
