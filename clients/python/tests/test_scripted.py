"""What the real gateway does not do on request: a server that says what it is told to."""

import unittest.mock
from typing import Any

from aiohttp import web

import cometbox
from gateway import QUICK, Case

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]] | str
OPENED = 201, {"mailbox": "ann", "key": "k", "cursor": 0}


def messages(*seqs: int, lost: int = 0) -> Answer:
    return 200, {"cursor": seqs[-1], "lost": lost, "messages": [{"seq": n, "data": n} for n in seqs]}


def refusal(status: int, code: str, **headers: str) -> Answer:
    return status, {"error": {"code": code, "message": f"it is {code}"}}, headers


class Scripted(Case):
    async def serve(self, *answers: Answer) -> str:
        """Answers one after the other; what was asked is in `asked`."""
        self.asked: list[str] = []
        script = iter(answers)

        async def answer(request: web.BaseRequest) -> web.Response:
            self.asked.append(f"{request.method} {request.path_qs}")
            said = next(script)
            if isinstance(said, str):
                assert said == "cut" and request.transport
                request.transport.close()
                return web.Response()
            status, body, *headers = said
            text = body if isinstance(body, str) else None
            make = web.Response(text=text, status=status) if text else web.json_response(body, status=status)
            make.headers.update(*headers)
            return make

        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        self.addAsyncCleanup(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return "http://{}:{}".format(*runner.addresses[0])

    async def test_waits_for_a_gateway_that_is_not_itself(self) -> None:
        login = 200, "<h1>Please log in</h1>"
        bad = 502, "<h1>Bad Gateway</h1>"
        url = await self.serve(
            refusal(500, "plugin_failed"), bad, login, (429, {"error": "slow down"}), OPENED,
            bad, refusal(503, "overloaded"), messages(1),
        )
        with self.assertLogs("cometbox", "WARNING") as logged:
            ann = await self.open(url)
            self.assertEqual((await anext(ann)).seq, 1)
        self.assertEqual(len(logged.output), 6)
        self.assertIn("trying again", logged.output[0])
        self.assertEqual(self.asked[5], "GET /chat/mailboxes/ann?cursor=0&wait=25")
        self.assertEqual(self.asked[6], "GET /chat/mailboxes/ann?cursor=0&wait=0", "not held after a failure")

    async def test_what_came_already_is_not_handed_out_again(self) -> None:
        url = await self.serve(OPENED, messages(1, 2), messages(2, 3), messages(3), messages(5, lost=1))
        ann = await self.open(url)
        self.assertEqual([(await anext(ann)).seq for _ in range(4)], [1, 2, 3, 5])
        self.assertEqual(ann.lost, 1)
        self.assertIn("cursor=3", self.asked[3])

    async def test_backs_off_with_full_jitter_but_not_before_retry_after(self) -> None:
        fail = refusal(503, "overloaded")
        later = refusal(503, "shutting_down", **{"Retry-After": "7"})
        url = await self.serve(fail, fail, fail, fail, later, OPENED)
        with unittest.mock.patch("cometbox.mailbox.random", lambda: 0.5), unittest.mock.patch(
            "cometbox.mailbox.asyncio.sleep"
        ) as sleep:
            await self.open(url, options=cometbox.Options(retry_min=1, retry_max=4))
        self.assertEqual([call.args[0] for call in sleep.await_args_list], [0.5, 1, 2, 2, 9])

    async def test_does_not_wait_beyond_its_patience(self) -> None:
        url = await self.serve(refusal(503, "overloaded", **{"Retry-After": "300"}))
        with self.assertRaises(cometbox.Overloaded) as raised:
            await self.open(url)
        self.assertEqual(raised.exception.retry_after, 300)

    async def test_a_plugins_5xx_is_final(self) -> None:
        url = await self.serve(refusal(503, "rejected"))
        with self.assertRaisesRegex(cometbox.Rejected, "it is rejected"):
            await self.open(url)

    async def test_an_opening_without_a_clear_answer_may_have_taken_our_own_name(self) -> None:
        taken = refusal(409, "name_taken")
        for unheard in ("cut", (502, "<h1>Bad Gateway</h1>"), refusal(507, "not_kept")):
            with self.subTest(unheard):
                url = await self.serve(unheard, taken, taken, OPENED)
                self.assertEqual((await self.open(url)).name, "ann")
        url = await self.serve(refusal(500, "plugin_failed"), taken)
        with self.assertRaises(cometbox.NameTaken):
            await self.open(url)

    async def test_waits_that_are_cut_short_do_not_make_it_run_in_circles(self) -> None:
        url = await self.serve(OPENED, (204, None), messages(1))
        ann = await self.open(url)
        with unittest.mock.patch("cometbox.mailbox.asyncio.sleep") as sleep:
            await anext(ann)
        sleep.assert_awaited_once_with(1)

    async def test_sends_once(self) -> None:
        url = await self.serve(OPENED, "cut", (404, "<h1>Not Found</h1>"), (301, "moved"), refusal(418, "new"))
        ann = await self.open(url)
        for error in (cometbox.NetworkError, cometbox.HttpError, cometbox.HttpError, cometbox.CometboxError):
            with self.assertRaises(error):
                await ann.send(1)
        self.assertEqual(self.asked[1:], ["POST /chat/mailboxes/ann"] * 4)

    async def test_headers_go_with_the_opening(self) -> None:
        url = await self.serve(OPENED)
        with unittest.mock.patch("aiohttp.ClientSession.request", side_effect=OSError("seen")) as request:
            with self.assertRaises(cometbox.NetworkError):
                options = QUICK._replace(patience=0)
                async with cometbox.open(url, "chat", options=options, headers={"Authorization": "Bearer t"}):
                    pass
        self.assertEqual(request.call_args.kwargs["headers"], {"Authorization": "Bearer t", "Content-Type": "application/json"})
