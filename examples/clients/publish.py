"""A backend in Python says something to everybody in a room."""

import asyncio
import os
import sys

import cometbox


async def main() -> None:
    url = os.environ.get("COMETBOX", "http://127.0.0.1:8080")
    async with cometbox.Publisher(url, "chat", "dev-only-key") as publisher:
        for say in sys.argv[1:] or ["hello"]:
            result = await publisher.publish({"from": "server", "say": say}, groups=["hall"])
            print(f"{say}: {result.queued}")


asyncio.run(main())
