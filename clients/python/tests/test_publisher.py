"""Publishing to the real gateway."""

import asyncio
import os
import re
import sys
from pathlib import Path

import cometbox
from gateway import KEY, QUICK, Case, Proxy, shared


class Publishing(Case):
    async def test_tells_who_got_it(self) -> None:
        url = shared().url
        boxes = [await self.open(url, nick=nick, room="hall") for nick in ("ann", "bob", "carl")]
        async with cometbox.Publisher(url, "chat", KEY) as publisher:
            result = await publisher.publish("hi", groups="hall", mailboxes=["dan"], except_=["ann", "bob"])
        self.assertEqual(result, cometbox.Result(queued=1, missing=["dan"], full=[], dropped=0))
        self.assertEqual((await anext(boxes[2])).data, "hi")

    async def test_ttl_and_collapse(self) -> None:
        url = shared().url
        ann = await self.open(url, nick="ann")
        publisher = await self.publisher(url)
        await publisher.publish("old", mailboxes="ann", collapse="IBM")
        await publisher.publish("new", mailboxes="ann", collapse="IBM", ttl_ms=60_000)
        self.assertEqual(await anext(ann), (1, "new"))

    async def test_a_batch_stands_where_the_plugin_took_it(self) -> None:
        url = shared().url
        watcher = await self.open(url, "quotes", watch=["IBM"])
        publisher = await self.publisher(url, "quotes")
        quote = {"symbol": "IBM", "price": 1.5, "time": 1}
        bad, good = await publisher.batch([cometbox.item({"symbol": "?"}), cometbox.item(quote)])
        assert isinstance(bad, cometbox.CometboxError)
        self.assertEqual(good, cometbox.Result(1, [], [], 0))
        self.assertEqual((await anext(watcher)).data, quote)
        with self.assertRaises(type(bad)):
            await publisher.publish({"symbol": "?"})

    async def test_a_lost_answer_is_asked_for_again_by_its_id(self) -> None:
        url = shared().url
        ann = await self.open(url, nick="ann")
        budgets = iter([9, 9])  # bytes of the first answers; then all of them
        async with Proxy(shared().address, lambda: next(budgets, 1 << 30)) as proxy:
            async with cometbox.Publisher(proxy.url, "chat", KEY, QUICK) as publisher:
                with self.assertLogs("cometbox", "WARNING") as logged:
                    result = await publisher.publish("once", mailboxes="ann", id="order 17")
                self.assertEqual(result, cometbox.Result(1, [], [], 0, duplicate=True))
                self.assertEqual((proxy.cuts, len(logged.output)), (2, 2))
            items = [cometbox.item(n, mailboxes="ann", id=id) for n, id in ((1, None), (2, "order 18"))]
            budgets = iter([9])
            async with cometbox.Publisher(proxy.url, "chat", KEY, QUICK) as publisher:
                with self.assertRaises(cometbox.NetworkError):
                    await publisher.batch(items)  # the one without an id could come twice
        self.assertEqual([(await anext(ann)).data for _ in range(3)], ["once", 1, 2])

    async def test_errors(self) -> None:
        url = shared().url
        async with cometbox.Publisher(url, "chat", "wrong") as publisher:
            with self.assertRaisesRegex(cometbox.Unauthorized, "publish_keys"):
                await publisher.publish(1, mailboxes="ann")
        publisher = await self.publisher(url)
        with self.assertRaises(cometbox.CometboxError) as bad:
            await publisher.batch([cometbox.item(1), cometbox.item(2, groups=["\n"])])
        self.assertEqual((bad.exception.status, bad.exception.index), (400, 1))
        with self.assertRaises(cometbox.TooLarge):
            await publisher.publish("x" * (2 << 20))
        with self.assertRaisesRegex(TypeError, "mailboxs"):
            await publisher.publish(1, mailboxs="ann")

    async def test_without_a_loop(self) -> None:
        url = shared().url
        ann = await self.open(url, nick="ann")
        result = await asyncio.to_thread(cometbox.publish_sync, url, "chat", KEY, b"hi", mailboxes="ann")
        self.assertEqual((result.queued, (await anext(ann)).data), (1, b"hi"))

    async def test_the_programs_of_the_readme_run_as_they_are(self) -> None:
        url = self.gateway().url
        readme = (Path(__file__).parents[1] / "README.md").read_text()
        read, publish = (
            code.replace("http://127.0.0.1:8080", url).replace("dev-only-key", KEY)
            for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
        )
        run, pipe = asyncio.create_subprocess_exec, asyncio.subprocess.PIPE
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        reader = await run(sys.executable, "-c", read, stdout=pipe, env=environment)
        assert reader.stdout
        try:
            self.assertEqual(await reader.stdout.readline(), b"here: []\n")
            publisher = await run(sys.executable, "-c", publish, stdout=pipe)
            said, _ = await publisher.communicate()
            self.assertEqual((publisher.returncode, said), (0, b"1\n"))
            self.assertEqual(await reader.stdout.readline(), b"1 {'from': 'server', 'say': 'hello'}\n")
        finally:
            reader.kill()
            await reader.wait()
