"""Mailboxes of the real gateway."""

import asyncio
import contextlib
import random
import re

import cometbox
from cometbox import errors
from gateway import KEY, QUICK, ROOT, Case, Proxy, shared


class Mailboxes(Case):
    async def test_opens_iterates_sends_and_gets_replies(self) -> None:
        url = shared().url
        ann = await self.open(url, nick="ann", room="hall")
        self.assertEqual((ann.name, ann.cursor), ("ann", 0))
        self.assertEqual(ann.reply, {"room": "hall", "nick": "ann", "members": []})
        bob = await self.open(url, nick="bob", room="hall")
        self.assertEqual(await bob.send({"who": True}), {"members": ["ann", "bob"]})
        self.assertIsNone(await bob.send({"say": "ä"}))
        self.assertEqual(await anext(ann), cometbox.Message(1, {"joined": "bob"}))
        self.assertEqual(ann.cursor, 0, "not before the next one is asked for")
        message = await anext(ann)
        self.assertEqual((message.seq, message.data), (2, {"from": "bob", "say": "ä", "room": "hall"}))
        self.assertEqual(ann.cursor, 1)

    async def test_kinds_of_payload_keep_their_kind(self) -> None:
        url = shared().url
        box = await self.open(url, "hostile")
        for data in (None, True, 1.5, "text", "", b"\x00\xff", b"", [b"".hex()], {"base64": "no"}, {"base64": "aGl="}, {"a": {"base64": "aGk="}}):
            self.assertEqual(await box.send(data), data)
        self.assertEqual(await box.send({"base64": "aGk="}), b"hi")
        with self.assertRaises(ValueError):
            await box.send(float("nan"))
        ann = await self.open(url, nick="ann")
        publisher = await self.publisher(url)
        for sent in (b"\x00\xff", "text", {"n": 1}):
            await publisher.publish(sent, mailboxes="ann")
            self.assertEqual((await anext(ann)).data, sent)

    async def test_resumes_behind_the_cursor(self) -> None:
        url = shared().url
        async with cometbox.open(url, "chat", {"nick": "rita"}) as ann:
            publisher = await self.publisher(url)
            await publisher.batch(cometbox.item(n, mailboxes=["rita"]) for n in range(5))
            async for message in ann:
                if message.data == 2:
                    break
        self.assertEqual([m async for m in ann], [], "over")
        async with cometbox.resume(url, "chat", ann.name, ann.key, ann.cursor) as again:
            self.assertEqual([(await anext(again)).data for _ in range(3)], [2, 3, 4], "2 was not confirmed")
        async with cometbox.resume(url, "chat", ann.name, ann.key, message.seq) as again:
            self.assertEqual((await anext(again)).data, 3, "unless one says so")

    async def test_odd_names(self) -> None:
        url = shared().url
        for name in ("...", "a/b?c#d%2F e", "ä🙂", "+&="):
            box = await self.open(url, "hostile", name=name)
            self.assertEqual(box.name, name)
            self.assertEqual(await box.send(1), 1)
            await box.close()

    async def test_a_gateway_that_starts_again_has_forgotten_the_mailbox(self) -> None:
        gateway = self.gateway()
        ann = await self.open(gateway.url, nick="ann")
        reading = self.task(anext(ann))
        gateway.kill()
        with self.assertRaisesRegex(cometbox.NetworkError, "no answer from http.*is the gateway up"):
            await ann.send({"say": "hi"})
        again = self.gateway(gateway.address)
        self.assertEqual(again.url, gateway.url)
        with self.assertRaisesRegex(cometbox.NotFound, "open it again") as raised:
            await reading
        self.assertIsInstance(raised.exception, cometbox.OPEN_AGAIN)
        fresh = await self.open(gateway.url, nick="ann")
        self.assertIsNone(await fresh.send({"say": "hi"}))

    async def test_gives_up_after_its_patience(self) -> None:
        gateway = self.gateway()
        ann = await self.open(gateway.url, nick="ann", options=QUICK._replace(patience=0))
        gateway.kill()
        for _ in range(2):
            with self.assertRaises(cometbox.NetworkError):
                await anext(ann)
        with self.assertRaises(cometbox.NetworkError):
            await self.open(gateway.url, nick="ann", options=QUICK._replace(patience=0))
        with self.assertRaisesRegex(ValueError, "url is like"):
            await self.open(gateway.address, nick="ann")

    async def test_nothing_is_lost_or_doubled_when_connections_are_cut(self) -> None:
        gateway, count = shared(), 1000
        chance = random.Random(7)
        async with Proxy(gateway.address, lambda: chance.randint(1, 40_000)) as proxy:
            ann = await self.open(gateway.url, nick="ann")
            publisher = await self.publisher(gateway.url)

            async def publish() -> None:
                for n in range(count):
                    await publisher.publish({"n": n, "pad": "x" * 200}, mailboxes=["ann"])

            publishing = self.task(publish())
            got = []
            async with cometbox.resume(proxy.url, "chat", "ann", ann.key, 0, options=QUICK) as mailbox:
                async for message in mailbox:
                    got.append((message.seq, message.data["n"]))
                    if len(got) == count:
                        break
            await publishing
            self.assertEqual(got, [(n + 1, n) for n in range(count)])
            self.assertGreater(proxy.cuts, 4)
            self.assertEqual(mailbox.lost, 0)

    async def test_tells_what_was_lost(self) -> None:
        url = shared().url
        ann = await self.open(url, "small", nick="ann")
        publisher = await self.publisher(url, "small")
        await publisher.batch([cometbox.item(n, mailboxes="ann") for n in range(5)])
        self.assertEqual((await anext(ann)).data, 2)
        self.assertEqual(ann.lost, 2)
        self.assertEqual([(await anext(ann)).data for _ in range(2)], [3, 4])
        await publisher.publish("more", mailboxes="ann")
        self.assertEqual((await anext(ann)).data, "more")
        self.assertEqual(ann.lost, 2)

    async def test_a_cancelled_iteration_lets_go_of_the_mailbox(self) -> None:
        gateway = shared()
        bob = await self.open(gateway.url, "hasty", nick="bob")
        left = self.task(anext(bob))
        async with Proxy(gateway.address) as proxy:
            ann = await self.open(proxy.url, "hasty", nick="ann")
            self.assertEqual((await left).data, {"joined": "ann"})
            left = self.task(anext(bob))
            reading = self.task(anext(ann))
            while b"GET " not in await proxy.asked.get():
                pass
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            await proxy.left.get()
            # A read that is held would keep her for 25 s.
            self.assertEqual((await asyncio.wait_for(left, 10)).data, {"left": "ann"})

    async def test_a_cancelled_iteration_can_go_on(self) -> None:
        url = shared().url
        ann = await self.open(url, nick="ann")
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(ann), 0.1)
        await (await self.publisher(url)).publish(1, mailboxes="ann")
        self.assertEqual(await anext(ann), (1, 1))

    async def test_a_second_reader_displaces_the_first(self) -> None:
        url = shared().url
        ann = await self.open(url, nick="ann")
        async with cometbox.resume(url, "chat", "ann", ann.key, 0) as other:
            readers = {self.task(anext(ann)), self.task(anext(other))}
            # Whichever came first.
            [first], [second] = await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
            self.assertIsInstance(first.exception(), cometbox.Displaced)
            await (await self.publisher(url)).publish("hi", mailboxes="ann")
            self.assertEqual((await second).data, "hi")

    async def test_two_tasks_share_an_iteration(self) -> None:
        url = shared().url
        ann = await self.open(url, nick="ann")
        tasks = [self.task(anext(ann)) for _ in range(2)]
        publisher = await self.publisher(url)
        await publisher.batch([cometbox.item(n, mailboxes="ann") for n in range(2)])
        self.assertEqual([(await task).data for task in tasks], [0, 1])

    async def test_closing_ends_the_iteration_and_another_readers_too(self) -> None:
        url = shared().url
        ann = await self.open(url, nick="ann")
        reading = self.task(anext(ann))
        await ann.close()
        with self.assertRaises(StopAsyncIteration):
            try:
                await reading
            except RuntimeError as error:  # what becomes of a StopAsyncIteration in a task
                raise error.__cause__ or error
        async with cometbox.resume(url, "chat", "ann", ann.key, 0) as other:
            with self.assertRaises(cometbox.Closed):
                await anext(other)
            await other.close()

    async def test_leaving_ends_an_iteration_elsewhere(self) -> None:
        url = shared().url
        async with cometbox.open(url, "chat", {"nick": "lea"}) as ann:
            async def read() -> list[cometbox.Message]:
                return [message async for message in ann]

            reading = self.task(read())
            await (await self.open(url, nick="bob")).send({"to": "lea", "say": "hi"})
        self.assertIsInstance(await reading, list)

    async def test_closed_by_the_plugin(self) -> None:
        url = shared().url
        box = await self.open(url, "hostile")
        reading = self.task(anext(box))
        await box.send({"do": "close"})
        with self.assertRaises(cometbox.Closed) as raised:
            await reading
        self.assertEqual((raised.exception.reason, raised.exception.status), ("hostile was told to close", 410))

    async def test_a_message_may_name_its_channel(self) -> None:
        url = shared().url
        box = await self.open(url, "open", subscribe=["a/*"])
        await box.send("here", channel="a/b")
        self.assertEqual((await anext(box)).data, "here")
        with self.assertRaises(cometbox.BadName):
            await box.send("everywhere", channel="a/*")

    async def test_devices_of_one_user_read_the_same_messages(self) -> None:
        url = shared().url
        who = {"name": "devices", "identity": "ann", "shared": True}
        phone, laptop = [await self.open(url, "hostile", **who) for _ in range(2)]
        self.assertNotEqual(phone.key, laptop.key)
        publisher = await self.publisher(url, "hostile")
        for data in "abc":
            self.assertEqual((await publisher.publish(data, mailboxes="devices")).queued, 1)
        self.assertEqual([(await anext(phone)).data for _ in "abc"], ["a", "b", "c"])
        self.assertEqual([(await anext(laptop)).data for _ in "ab"], ["a", "b"])
        # What the laptop has not confirmed waits for it, with what comes meanwhile.
        await publisher.publish("d", mailboxes="devices")
        self.assertEqual((await anext(phone)).data, "d")
        async with cometbox.resume(url, "hostile", "devices", laptop.key, laptop.cursor) as again:
            self.assertEqual([(await anext(again)).data for _ in "bcd"], ["b", "c", "d"])

    async def test_each_code_of_the_protocol_has_a_class(self) -> None:
        protocol = (ROOT / "docs/protocol.md").read_text().split("## Errors", 1)[1].split("\n## ", 1)[0]
        rows = re.findall(r"^\| (`[^|]*) \|", protocol, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", " ".join(rows)):
            self.assertIsNot(type(errors.error(code=code, message="")), cometbox.CometboxError, code)

    async def test_errors(self) -> None:
        url = shared().url
        ann = await self.open(url, nick="ann")
        with self.assertRaisesRegex(cometbox.NameTaken, "ann"):
            await self.open(url, nick="ann")
        with self.assertRaisesRegex(cometbox.Rejected, "a nick is 1 to 32 letters") as rejected:
            await self.open(url, nick="?")
        self.assertEqual((rejected.exception.status, rejected.exception.code), (400, "rejected"))
        with self.assertRaisesRegex(cometbox.NotFound, 'no app "chatt" here'):
            await self.open(url, "chatt", nick="ann")
        with self.assertRaisesRegex(cometbox.Rejected, "carl is not here"):
            await ann.send({"to": "carl", "say": "psst"})
        with self.assertRaises(cometbox.PluginFailed) as failed:
            await (await self.open(url, "hostile")).send({"do": "panic"})
        self.assertTrue(failed.exception.id)
        for key, cursor, error in (("wrong", 0, cometbox.Unauthorized), (ann.key, 99, cometbox.BadCursor)):
            async with cometbox.resume(url, "chat", "ann", key, cursor) as box:
                with self.assertRaises(error):
                    await anext(box)
        self.assertNotIn(KEY, repr(ann))
