"""A limit on the bytes of a request, which MLflow's server does not have: it reads any number of them into memory."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

Receive = Callable[[], Awaitable[dict[str, Any]]]


class BodyLimit:
    """ASGI middleware: a body of more than `max_bytes` is answered with 413, and no content type with 415.

    Of a body that is too long nothing is kept in memory. It is read to its end, because a client that still sends would
    see a broken connection in place of the answer.
    """

    def __init__(self, app: Any, max_bytes: int):
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body, size = await read_body(receive, self.max_bytes)
        if size > self.max_bytes:
            found = f"found a request of {size:,} bytes; one may have {self.max_bytes:,}: send the texts in several."
            await refuse(413, found)(scope, receive, send)
        elif "content-type" not in Request(scope).headers:
            await refuse(415, "found no Content-Type; it must be application/json.")(scope, receive, send)
        else:
            await self.app(scope, replay(body, receive), send)


async def read_body(receive: Receive, max_bytes: int) -> tuple[bytes, int]:
    """The body, empty when it is longer than `max_bytes`, and its length. A client that is gone ends it."""
    parts, size, has_more = [], 0, True
    while has_more:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        parts.append(part)
        if size > max_bytes:
            parts.clear()
        has_more = message.get("more_body", False)
    return b"".join(parts), size


def replay(body: bytes, receive: Receive) -> Receive:
    """What an application receives of a body that was read already."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> dict[str, Any]:
        return messages.pop() if messages else await receive()

    return receive_again


def refuse(status: int, message: str) -> JSONResponse:
    """An error in the form of MLflow's."""
    return JSONResponse({"error_code": "BAD_REQUEST", "message": message}, status)


async def refuse_nesting(request: Request, error: Exception) -> JSONResponse:
    """The answer to JSON of so many brackets within each other that Python cannot read it."""
    return refuse(400, "Invalid input. The JSON is nested too deeply.")


async def refuse_long_number(request: Request, error: Exception) -> JSONResponse:
    """The answer to JSON with a number of so many digits that Python refuses it; another ValueError is raised again."""
    if "integer string conversion" not in str(error):
        raise error
    return refuse(400, "Invalid input. The JSON has a number of too many digits.")
