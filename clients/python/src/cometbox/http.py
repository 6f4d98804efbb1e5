"""Requests to an app, their answers, and payloads."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from . import errors
Self = TypeVar("Self", bound="Client")


class Options(NamedTuple):
    wait: int = 25  # seconds for which a read may be held
    timeout: float = 10  # seconds until a request without answer is given up, on top of wait
    patience: float = 120  # seconds for which failures in a row are retried before one is raised
    retry_min: float = 0.5  # seconds: bound of the first pause before a retry
    retry_max: float = 15  # seconds: bound of the longest pause
    session: aiohttp.ClientSession | None = None  # to share one, say with a proxy; stays open


class Client:
    def __init__(self, url: str, app: str, key: str = "", options: Options = Options()) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url is like http://127.0.0.1:8080, not {url!r}")
        self.key, self.options, self.over = key, options, False
        self._base = f"{url.rstrip('/')}/{quote(app, safe='')}"
        self._session = options.session or aiohttp.ClientSession()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.over = True
        if not self.options.session:
            await self._session.close()

    async def request(
        self, method: str, path: str, data: Any = None, wait: int = 0, more: Mapping[str, str] = {}
    ) -> dict[str, Any]:
        """The answer's map; empty if the answer is."""
        url, body = URL(self._base + path, encoded=True), None
        headers = {**more, **({"Authorization": f"Bearer {self.key}"} if self.key else {})}
        if method == "POST":
            body = data if isinstance(data, bytes) else json.dumps(data, allow_nan=False).encode()
            headers["Content-Type"] = f"application/{'octet-stream' if body is data else 'json'}"
        # A network that died silently shows only by the answer that does not come.
        timeout = aiohttp.ClientTimeout(total=wait + self.options.timeout)
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                status, text = response.status, await response.read()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as cause:
            what = f"no answer from {url.origin()} ({str(cause) or type(cause).__name__})"
            raise errors.NetworkError(f"{what}: is the gateway up, and the URL right?") from cause
        after = response.headers.get("Retry-After", "")
        said: dict[str, Any] = {"code": "http_error"}
        said["message"] = f"HTTP {status} from {url.origin()}, not by a gateway: is the URL right?"
        with suppress(ValueError, LookupError, TypeError):
            answer = json.loads(text or "{}")
            if status < 300:
                return {**answer}
            said = {key: answer["error"][key] for key in ("code", "message")} | answer["error"]
        said |= {"status": status, "retry_after": float(after) if after.isdecimal() else 0.0}
        raise errors.error(**said)


def to_json(data: Any) -> Any:
    return {"base64": b64encode(data).decode()} if isinstance(data, bytes) else data


def from_json(data: Any) -> Any:
    with suppress(ValueError, LookupError, TypeError):
        found = b64decode(data["base64"])
        return found if to_json(found) == data else data
    return data
