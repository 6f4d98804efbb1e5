"""The real gateway with real components, and a proxy that can cut its connections."""

import asyncio
import contextlib
import faulthandler
import functools
import os
import re
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any

import cometbox

ROOT = Path(__file__).resolve().parents[3]
BIN = os.environ.get("COMETBOX_BIN") or str(ROOT / "target/release/cometbox")
KEY = "a key for tests"
CONFIG = f"""
listen = "127.0.0.1:0"
admin = ""
[[app]]
name = "chat"
plugins = ["{ROOT}/plugins/chat"]
publish_keys = ["{KEY}"]
settings = {{ history = 0 }} # what one test said is not for the next
[[app]]
name = "hasty"
plugins = ["{ROOT}/plugins/chat"]
settings = {{ linger_s = 1 }}
[[app]]
name = "small"
plugins = ["{ROOT}/plugins/chat"]
publish_keys = ["{KEY}"]
limits = {{ mailbox_messages = 3 }}
[[app]]
name = "quotes"
plugins = ["{ROOT}/plugins/quotes"]
publish_keys = ["{KEY}"]
[[app]]
name = "hostile"
plugins = ["{ROOT}/tests/plugins/hostile"]
publish_keys = ["{KEY}"]
[[app]]
name = "open"
plugins = ["{ROOT}/plugins/bayeux-open"]
publish_keys = ["{KEY}"]
"""
QUICK = cometbox.Options(retry_min=0.01, retry_max=0.05)

faulthandler.dump_traceback_later(240, exit=True)


class Case(unittest.IsolatedAsyncioTestCase):
    """Every test is bounded, and has a gateway if it asks for one."""

    def __init_subclass__(cls) -> None:
        for name, test in list(vars(cls).items()):
            if name.startswith("test_"):
                setattr(cls, name, bounded(test))

    def gateway(self, listen: str = "127.0.0.1:0") -> "Gateway":
        """One to kill."""
        gateway = Gateway(listen)
        self.addCleanup(gateway.kill)
        return gateway

    async def open(self, url: str, app: str = "chat", options: Any = QUICK, **body: Any) -> cometbox.Mailbox:
        mailbox = await self.enterAsyncContext(cometbox.open(url, app, body, options=options))

        async def close() -> None:
            with contextlib.suppress(cometbox.CometboxError):
                await mailbox.close()

        self.addAsyncCleanup(close)
        return mailbox

    async def publisher(self, url: str, app: str = "chat") -> cometbox.Publisher:
        return await self.enterAsyncContext(cometbox.Publisher(url, app, KEY))

    def task(self, awaitable: Any) -> "asyncio.Task[Any]":
        async def run() -> Any:
            return await awaitable

        task = asyncio.create_task(run())
        self.addCleanup(task.cancel)
        return task


def bounded(test: Any) -> Any:
    @functools.wraps(test)
    async def within(self: Case) -> None:
        await asyncio.wait_for(test(self), 30)

    return within


class Gateway:
    def __init__(self, listen: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        config = Path(self.folder.name) / "cometbox.toml"
        config.write_text(CONFIG)
        command = BIN, "serve", "--config", config, "--listen", listen
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        watchdog = threading.Timer(30, self.process.kill)
        watchdog.start()
        said = ""
        assert self.process.stdout
        while not (found := re.search(r"listening on http://(\S+)", said)):
            line = self.process.stdout.readline()
            assert line, f"the gateway did not start:\n{said}"
            said += line
        watchdog.cancel()
        self.address = found[1]
        self.url = f"http://{self.address}"
        self.drain = threading.Thread(target=self.process.stdout.read)
        self.drain.start()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.drain.join()
        assert self.process.stdout
        self.process.stdout.close()
        self.folder.cleanup()


@functools.cache
def shared() -> Gateway:
    """One for all tests that let it live."""
    gateway = Gateway("127.0.0.1:0")
    unittest.addModuleCleanup(shared.cache_clear)
    unittest.addModuleCleanup(gateway.kill)
    return gateway


class Proxy:
    """Passes on what comes until `budget()` bytes of answers went through a connection."""

    def __init__(self, target: str, budget: Any = lambda: 1 << 30) -> None:
        self.target, self.budget, self.cuts = target.split(":"), budget, 0
        self.asked: asyncio.Queue[bytes] = asyncio.Queue()  # what clients send
        self.left: asyncio.Queue[None] = asyncio.Queue()  # clients that hang up

    async def __aenter__(self) -> "Proxy":
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_gateway, to_gateway = await asyncio.open_connection(*self.target)

        async def answers() -> None:
            budget = self.budget()
            while data := await from_gateway.read(budget):
                writer.write(data)
                budget -= len(data)
                if budget == 0:
                    self.cuts += 1
                    break
            writer.close()
            to_gateway.close()

        task = asyncio.create_task(answers())
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.asked.put_nowait(data)
                to_gateway.write(data)
        self.left.put_nowait(None)
        to_gateway.close()
        writer.close()
        await task
