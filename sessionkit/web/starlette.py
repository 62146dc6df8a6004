"""
Starlette and FastAPI: one session for each request, committed before the response leaves.

::

    app.add_middleware(SessionMiddleware, bind=registry)

    @app.post("/orders", status_code=201)
    def order(session: Annotated[Session, Depends(get_session)]):
        session.insert(Order(...))
        return {"id": 1}                        # a client that reads this finds the order there

    @app.get("/orders/{id}")
    async def one(id: int, session: Annotated[AsyncSession, Depends(get_async_session)]):
        return (await session.execute("select * from orders where id = ?", [id])).one()._asdict()
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, CapacityLimiter, fail_after, to_thread
from anyio.lowlevel import RunVar
from starlette.requests import HTTPConnection, Request  # noqa: TC002  FastAPI reads the annotations
from starlette.responses import JSONResponse

from ..aio import AsyncSession
from ..errors import Error, InvalidRequestError, PoolTimeoutError
from ..registry import engines_of
from .responses import answer_to, health

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..engine import Engine
    from ..registry import Registry
    from ..session.session import Session

_KEY = "sessionkit"
_ENDINGS = 40
"""Threads that end transactions, apart from those of endpoints, which may all be waiting for a connection."""


_limiters: RunVar[dict[object, CapacityLimiter]] = RunVar("sessionkit_limiters")


def _limiter(key: object, tokens: int) -> CapacityLimiter:
    """Return this event loop's limiter for something."""
    try:
        found = _limiters.get()
    except LookupError:
        _limiters.set(found := {})
    return found.setdefault(key, CapacityLimiter(tokens))


class RequestSession:
    """The session of one request: made when first asked for, ended once; what asks later gets another one."""

    def __init__(self, bind: Engine | Registry) -> None:
        self.bind = bind
        self._session: Session | None = None
        self._async: AsyncSession | None = None
        self._has_place = False

    async def enter(self) -> None:
        """
        Wait in the event loop until one of as many requests as there are connections ends.

        If they waited in threads, these would soon be all there are, and those who have a connection would find none to go on in.
        """
        if self._has_place:
            return
        engines = engines_of(self.bind, "SessionMiddleware")
        size, limit = max(engine.pool.size for engine in engines), engines[0].pool.timeout
        try:
            with fail_after(limit):
                await _limiter(self.bind, size).acquire_on_behalf_of(self)
        except TimeoutError:
            raise PoolTimeoutError(f"no connection within {limit:g} s: {size} requests have one each") from None
        self._has_place = True

    def leave(self) -> None:
        """Let the next request in."""
        if self._has_place:
            self._has_place = False
            _limiters.get()[self.bind].release_on_behalf_of(self)

    def get(self) -> Session:
        """Return it."""
        if self._session is None:
            self._session = self.bind.session()
        return self._session

    def get_async(self) -> AsyncSession:
        """Return the one for endpoints that are `async def`."""
        if self._async is None:
            self._async = AsyncSession(self.bind)
        return self._async

    async def end_async(self, status: int) -> None:
        """As `end`, of the other one."""
        session, self._async = self._async, None
        if session is None:
            return
        with CancelScope(shield=True):  # a client that has gone is no reason to leave it in doubt
            try:
                await (session.commit() if status < 400 else session.rollback())
            finally:
                await session.close()

    def end(self, status: int) -> None:
        """Commit below 400, else roll back; close it."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            if status < 400:
                session.commit()
            else:
                session.rollback()
        finally:
            session.close()

    @property
    def is_open(self) -> bool:
        """Whether there is something to end."""
        return self._session is not None


class SessionMiddleware:
    """
    An ASGI middleware that ends the request's session at `http.response.start`: COMMIT below 400, else ROLLBACK.

    A COMMIT that fails is the response's error. The session is rolled back on an exception, and closed whatever happens; a
    streamed body or a background task that asks for a session gets one of its own, which is rolled back at the end unless it
    commits. Errors of the database become responses (`sessionkit.web.responses`) unless the application handles them itself.
    """

    def __init__(self, app: ASGIApp, bind: Engine | Registry) -> None:
        self.app = app
        self.bind = bind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        held = scope[_KEY] = RequestSession(self.bind)
        started = replaced = False

        async def sending(message: Message) -> None:
            """Pass a message on; before the response starts, end the transaction."""
            nonlocal started, replaced
            if replaced:
                return  # the body of a response that could not be committed
            if message["type"] == "http.response.start" and not started:
                try:
                    await self._end(held, message["status"])
                except Error as exc:
                    replaced = await self._answer(exc, send)
                    if not replaced:
                        raise
                    started = True
                    return
                started = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Error as exc:
            await self._end(held, 500)
            if started or scope["type"] != "http" or not await self._answer(exc, send):
                raise
        finally:
            with CancelScope(shield=True):  # a client that has gone is no reason to keep a connection
                await self._end(held, 500)

    async def _end(self, held: RequestSession, status: int) -> None:
        try:
            if held.is_open:
                with CancelScope(shield=True):
                    await to_thread.run_sync(held.end, status, limiter=_limiter("endings", _ENDINGS))
            await held.end_async(status)
        finally:
            held.leave()

    async def _answer(self, exc: Error, send: Send) -> bool:
        """Send what a client is answered because of an error; False where there is no answer but 500."""
        found = answer_to(exc)
        if found is None:
            return False
        body = json.dumps({"error": found.error}).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **found.headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": found.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})
        return True


async def get_session(request: HTTPConnection) -> Session:
    """
    The dependency: `session: Annotated[Session, Depends(get_session)]`. It waits for its turn without a thread.

    The session's calls block, so use it in endpoints that are `def`, which run in a thread; `get_async_session` is for the others.

    Raises:
        PoolTimeoutError: as many requests as there are connections did not end in time; the client is answered 503.
        InvalidRequestError: SessionMiddleware does not serve this application.
    """
    held = _held(request)
    await held.enter()
    return held.get()


async def get_async_session(request: HTTPConnection) -> AsyncSession:
    """
    The dependency for endpoints that are `async def`: `session: Annotated[AsyncSession, Depends(get_async_session)]`.

    In Starlette, and in a streamed body: `session = await get_async_session(request)`.

    Raises:
        InvalidRequestError: SessionMiddleware does not serve this application.
    """
    return _held(request).get_async()


def session_of(request: HTTPConnection) -> Session:
    """Return the session of a request, in a Starlette endpoint that is `def`, or in a streamed body."""
    return _held(request).get()


def _held(request: HTTPConnection) -> RequestSession:
    held: RequestSession | None = request.scope.get(_KEY)
    if held is None:
        raise InvalidRequestError("no SessionMiddleware: app.add_middleware(SessionMiddleware, bind=registry)")
    return held


def health_check(bind: Engine | Registry) -> Callable[[Request], Any]:
    """Return an endpoint: round trip and pool of each database, 503 when one cannot be had."""

    async def endpoint(request: Request) -> JSONResponse:
        """Look."""
        status, found = await to_thread.run_sync(health, bind)
        return JSONResponse(found, status)

    return endpoint
