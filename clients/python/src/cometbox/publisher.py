"""Publishing, for backends."""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from . import errors
from .http import Client, to_json

Names = str | Iterable[str]


class Result(NamedTuple):
    queued: int  # mailboxes that took the message
    missing: list[str]  # addressed mailboxes that do not exist
    full: list[str]  # mailboxes that refused it
    dropped: int  # older messages that went to make room


def item(
    data: Any, *, mailboxes: Names = (), groups: Names = (), except_: Names = (),
    ttl_ms: int | None = None, collapse: str | None = None,
) -> dict[str, Any]:
    """For a batch. Without an address it is the plugin's to route; `except_` wins over both."""
    names = {"mailboxes": mailboxes, "groups": groups, "except": except_}
    to = {key: [v] if isinstance(v, str) else list(v) for key, v in names.items()}
    more = {"to": to if any(to.values()) else None, "ttl_ms": ttl_ms, "collapse": collapse}
    return {"data": to_json(data), **{k: v for k, v in more.items() if v is not None}}


class Publisher(Client):
    """`publish` takes what `item` does. Never twice: after a `NetworkError` it may have arrived."""
    async def publish(self, data: Any, **how: Any) -> Result:
        [result] = await self.batch([item(data, **how)])
        if isinstance(result, Exception):
            raise result
        return result

    async def batch(self, items: Iterable[dict[str, Any]]) -> list[Result | errors.CometboxError]:
        """What became of each `item(…)`. If one is malformed it raises, and nothing is published."""
        answer = await self.request("POST", "/publish", list(items))
        return [errors.error(**r["error"]) if "error" in r else Result(**r) for r in answer["results"]]


def publish_sync(url: str, app: str, key: str, data: Any, **how: Any) -> Result:
    """For programs without an event loop."""
    async def run() -> Result:
        async with Publisher(url, app, key) as publisher:
            return await publisher.publish(data, **how)
    return asyncio.run(run())
