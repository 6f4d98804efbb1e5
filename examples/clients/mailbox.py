"""The Python client: `pip install ./clients/python`."""

import asyncio
import os

import cometbox


async def main() -> None:
    url = os.environ.get("COMETBOX", "http://127.0.0.1:8080")
    async with cometbox.open(url, "chat", {"nick": "pia", "room": "hall"}) as mailbox:
        async for message in mailbox:
            if "say" not in message.data:
                continue  # somebody came or went
            print(f"{message.data['from']}: {message.data['say']}", flush=True)
            if message.data["say"] == "bye":
                break


asyncio.run(main())
