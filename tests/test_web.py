"""The doors of web backends: one session for each request, committed before the response leaves."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx2 as httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from flask import Flask, Response, abort, stream_with_context
from starlette.testclient import TestClient

from sessionkit import ArgumentError, CheckViolation, InvalidRequestError, Session, UniqueViolation, create_engine
from sessionkit.aio import AsyncSession
from sessionkit.testing import sandbox
from sessionkit.web.flask import SessionKit
from sessionkit.web.responses import answer_to
from sessionkit.web.starlette import SessionMiddleware, get_async_session, get_session, health_check, session_of

from .conftest import SLEEP, Item

if TYPE_CHECKING:
    from sessionkit import Engine

    from .conftest import Database

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*anyio.*:ResourceWarning")
In = Annotated[Session, Depends(get_session)]
InAsync = Annotated[AsyncSession, Depends(get_async_session)]


def flask_app(engine: Engine) -> Any:
    """The application in Flask."""
    app = Flask("shop")
    db = SessionKit(app, engine)
    app.add_url_rule("/health", view_func=db.health)

    @app.post("/items/<name>/<int:price>")
    def create(name: str, price: int) -> Any:
        db.session.execute("insert into item (name, price) values (?, ?)", (name, price - 5))
        return {"name": name}, 201

    @app.post("/bad/<name>/<how>")
    def bad(name: str, how: str) -> Any:
        db.session.insert(Item(name, 1))
        if how == "abort":
            abort(418)
        if how == "status":
            return {"no": "thanks"}, 400
        if how == "late":
            db.session.execute("insert into late values (1, 77)")
            return {}, 201
        raise KeyError(how)

    @app.get("/items")
    def items() -> Any:
        return {"names": db.session.scalars("select name from item order by id")}

    @app.get("/stream")
    def stream() -> Any:
        db.session.insert(Item("streamed", 1))

        def body() -> Iterator[str]:
            yield from db.session.scalars("select name from item order by id")

        return Response(stream_with_context(body()))

    @app.get("/nothing")
    def nothing() -> Any:
        return {}

    return app


def fastapi_app(engine: Engine) -> Any:
    """The same in FastAPI."""
    app = FastAPI()
    app.add_middleware(SessionMiddleware, bind=engine)
    app.add_route("/health", health_check(engine))

    def create(name: str, price: int, session: In) -> Any:
        session.execute("insert into item (name, price) values (?, ?)", (name, price - 5))
        return {"name": name}

    def bad(name: str, how: str, session: In) -> Any:
        session.insert(Item(name, 1))
        if how == "abort":
            return JSONResponse({}, 418)
        if how == "status":
            return JSONResponse({"no": "thanks"}, 400)
        if how == "late":
            session.execute("insert into late values (1, 77)")
            return {}
        raise KeyError(how)

    def items(session: In) -> Any:
        return {"names": session.scalars("select name from item order by id")}

    def stream(request: Request, session: In) -> Any:
        session.insert(Item("streamed", 1))

        def body() -> Iterator[str]:
            yield from session_of(request).scalars("select name from item order by id")

        return StreamingResponse(body())

    def later(request: Request, session: In, tasks: BackgroundTasks) -> Any:
        session.insert(Item("first", 1))

        def task() -> None:
            with engine.begin() as own:
                seen = own.scalars("select name from item order by id")
                own.insert(Item(f"after {','.join(seen)}", 1))

        tasks.add_task(task)
        return {}

    def nothing() -> Any:
        return {}

    app.post("/items/{name}/{price}", status_code=201)(create)
    app.post("/bad/{name}/{how}")(bad)
    app.get("/items")(items)
    app.get("/stream")(stream)
    app.post("/later")(later)
    app.get("/nothing")(nothing)
    return app


def async_app(engine: Engine) -> Any:
    """The same with endpoints that are `async def`."""
    app = FastAPI()
    app.add_middleware(SessionMiddleware, bind=engine)
    app.add_route("/health", health_check(engine))

    async def create(name: str, price: int, session: InAsync) -> Any:
        await session.execute("insert into item (name, price) values (?, ?)", (name, price - 5))
        return {"name": name}

    async def bad(name: str, how: str, session: InAsync) -> Any:
        await session.insert(Item(name, 1))
        if how == "abort":
            return JSONResponse({}, 418)
        if how == "status":
            return JSONResponse({"no": "thanks"}, 400)
        if how == "late":
            await session.execute("insert into late values (1, 77)")
            return {}
        raise KeyError(how)

    async def items(session: InAsync) -> Any:
        return {"names": await session.scalars("select name from item order by id")}

    async def stream(request: Request, session: InAsync) -> Any:
        await session.insert(Item("streamed", 1))

        async def body() -> AsyncIterator[str]:
            own = await get_async_session(request)
            async with own.stream("select name from item order by id") as rows:
                async for row in rows:
                    yield row.name

        return StreamingResponse(body())

    async def nothing() -> Any:
        return {}

    app.post("/items/{name}/{price}", status_code=201)(create)
    app.post("/bad/{name}/{how}")(bad)
    app.get("/items")(items)
    app.get("/stream")(stream)
    app.get("/nothing")(nothing)
    return app


APPS = {"fastapi": fastapi_app, "async": async_app}


class Client:
    """A test client that looks at the database at the moment when a response starts."""

    def __init__(self, kind: str, engine: Engine) -> None:
        self.engine = engine
        if kind == "flask":
            app = flask_app(engine)
            self._client: Any = app.test_client()
        else:
            app = APPS[kind](engine)
            self._client = TestClient(app, raise_server_exceptions=False)

    def __call__(self, method: str, path: str) -> tuple[int, Any, Any]:
        """Return status, what came (JSON or text), and headers."""
        found = getattr(self._client, method)(path)
        body = found.get_json(silent=True) if hasattr(found, "get_json") else None
        if body is None:
            body = found.text
            if hasattr(found, "json") and "json" in found.headers.get("content-type", ""):
                body = found.json() if callable(found.json) else found.json
        return found.status_code, body, found.headers


@pytest.fixture(params=["flask", "fastapi", "async"])
def client(request: pytest.FixtureRequest, db: Database) -> Client:
    """A client of each framework on each database."""
    return Client(request.param, db.engine(pool_size=2, pool_timeout=2))


def test_what_is_answered_is_there(client: Client) -> None:
    """201 and the row; no session, no connection."""
    assert client("post", "/items/tea/9")[:2] == (201, {"name": "tea"})
    assert client.engine.execute("select name from item").scalars() == ["tea"]
    assert client("get", "/items")[1] == {"names": ["tea"]}
    assert client("get", "/nothing")[0] == 200
    assert client.engine.pool.stats()["used"] == 0


@pytest.mark.parametrize(("how", "status"), [("abort", 418), ("status", 400), ("raise", 500)])
def test_what_is_refused_is_undone(client: Client, how: str, status: int) -> None:
    """An exception, and a status of 400 and above."""
    assert client("post", f"/bad/tea/{how}")[0] == status
    assert client.engine.execute("select name from item").scalars() == []
    assert client.engine.pool.stats()["used"] == 0


def test_errors_become_responses(client: Client) -> None:
    """With a status and words of ours."""
    assert client("post", "/items/tea/9")[0] == 201
    assert client("post", "/items/tea/9")[:2] == (409, {"error": "name is taken already"})
    assert client("post", "/items/milk/1")[:2] == (422, {"error": "a value is not allowed"})
    assert client.engine.execute("select name from item").scalars() == ["tea"]


def test_a_commit_that_fails_is_the_answer(client: Client, db: Database) -> None:
    """A deferred constraint, found at COMMIT: nobody was told 201."""
    if db.kind == "mariadb":
        assert answer_to(CheckViolation("x")) is not None
        return  # which has no deferred constraints
    client.engine.execute(
        "create table late (id integer primary key, next integer references late (id) deferrable initially deferred)"
    )
    status, body, _ = client("post", "/bad/tea/late")
    client.engine.execute("drop table late")
    assert (status, set(body)) == (422, {"error"})
    assert client.engine.execute("select name from item").scalars() == []


def test_a_pool_that_is_empty(client: Client) -> None:
    """503, and when to come again."""
    sessions = [client.engine.session() for _ in range(2)]
    for session in sessions:
        session.execute("select 1")
    holding = threading.Thread(target=lambda: None)
    holding.start()
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(client("get", "/items")))
    other.start()
    other.join()
    for session in sessions:
        session.close()
    status, body, headers = found[0]
    assert (status, body) == (503, {"error": "the server is busy; try again"})
    assert headers["Retry-After"] == "1"
    assert client("get", "/items")[0] == 200


def test_a_streamed_body(client: Client) -> None:
    """What the view wrote is committed before it; the body has a session of its own, which is closed."""
    assert client("get", "/stream")[1] == "streamed"
    assert client.engine.pool.stats()["used"] == 0


def test_health(client: Client) -> None:
    """Round trip and pool."""
    status, body, _ = client("get", "/health")
    assert (status, body["default"]["ok"], body["default"]["pool"]["max"]) == (200, True, 2)


def test_health_of_what_cannot_be_had() -> None:
    """503, and no words of the server."""
    with create_engine("postgresql://u@127.0.0.1:1/d", pool_timeout=0.2) as engine:
        for kind in ("flask", "fastapi"):
            status, body, _ = Client(kind, engine)("get", "/health")
            assert (status, body["default"]["ok"], body["default"]["error"]) == (503, False, "DisconnectionError")


def test_in_a_sandbox(client: Client) -> None:
    """What a test client does is undone, whatever thread the framework runs it in."""
    with sandbox(client.engine):
        assert client("post", "/items/tea/9")[0] == 201
        assert client("post", "/items/tea/9")[0] == 409
        assert client("get", "/items")[1] == {"names": ["tea"]}
    assert client.engine.execute("select name from item").scalars() == []


def test_a_background_task(db: Database) -> None:
    """It runs after the commit, and sees it."""
    client = Client("fastapi", db.engine())
    assert client("post", "/later")[0] == 200
    assert client.engine.execute("select name from item order by id").scalars() == ["first", "after first"]


def test_committed_when_the_response_starts(db: Database) -> None:
    """Seen from below both frameworks: at the first byte of the response the row is there."""
    engine = db.engine()
    seen: list[Any] = []

    def look() -> None:
        seen.append(engine.execute("select name from item order by id").scalars())

    app = flask_app(engine)
    inner = app.wsgi_app

    def wsgi(environ: Any, start_response: Any) -> Any:
        def starting(*arguments: Any) -> Any:
            look()
            return start_response(*arguments)

        return inner(environ, starting)

    app.wsgi_app = wsgi
    assert app.test_client().post("/items/a/9").status_code == 201

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                look()
            await send(message)

        await APPS[kind](engine)(scope, receive, sending)

    for kind in APPS:
        assert TestClient(asgi).post(f"/items/{kind}/9").status_code == 201
    assert seen == [["a"], ["a", "fastapi"], ["a", "fastapi", "async"]]


@pytest.mark.parametrize("kind", list(APPS))
def test_more_requests_than_threads_and_connections(server_db: Database, kind: str) -> None:
    """Eighty at once on two connections and forty threads: those who wait do not keep those who hold from ending."""
    import anyio

    engine = server_db.engine(pool_size=2, pool_timeout=20)
    app = APPS[kind](engine)

    async def all_at_once() -> list[int]:
        transport = httpx.ASGITransport(app)
        found: list[int] = []
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:

            async def one(number: int) -> None:
                found.append((await client.post(f"/items/n{number}/9")).status_code)

            async with anyio.create_task_group() as tasks:
                for number in range(80):
                    tasks.start_soon(one, number)
        return found

    started = time.monotonic()
    assert anyio.run(all_at_once) == [201] * 80
    assert time.monotonic() - started < 15
    assert engine.execute("select count(*) from item").scalar() == 80
    assert engine.pool.stats()["used"] == 0


@pytest.mark.parametrize("path", ["/slow", "/sleeping"])
def test_a_client_that_goes(server_db: Database, path: str) -> None:
    """A cancelled request keeps no connection and no row."""
    import anyio

    engine = server_db.engine(pool_size=1)
    app = FastAPI()
    app.add_middleware(SessionMiddleware, bind=engine)

    async def slow(request: Request) -> Any:
        session = session_of(request)
        await anyio.to_thread.run_sync(session.insert, Item("gone", 1))
        await anyio.sleep(30)

    async def sleeping(request: Request) -> Any:
        session = await get_async_session(request)
        await session.insert(Item("gone", 1))
        await session.execute(SLEEP[server_db.kind])

    app.add_route("/slow", slow)
    app.add_route("/sleeping", sleeping)

    async def leave() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            with anyio.move_on_after(0.5):
                await client.get(path)

    anyio.run(leave)
    assert engine.pool.stats()["used"] == 0
    assert engine.execute("select count(*) from item").scalar() == 0


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs run as they stand."""
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent.parent / "docs" / "web.md").read_text()
    monkeypatch.syspath_prepend(tmp_path)
    for number, program in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL)):
        (tmp_path / f"page_{number}.py").write_text(program)
        found: dict[str, Any] = vars(import_module(f"page_{number}"))
        engine = found["engine"] if "engine" in found else found["db"].bind
        engine.execute("create table if not exists orders (id integer primary key, article text)")
        client = TestClient(found["app"]) if "engine" in found else found["app"].test_client()
        before = engine.execute("select count(*) from orders").scalar()
        assert client.post("/orders").status_code == 201
        assert client.get("/health").status_code == 200
        assert engine.execute("select count(*) from orders").scalar() == before + 1
        engine.dispose()


def test_how_it_is_set_up() -> None:
    """What is missing is said."""
    with pytest.raises(ArgumentError, match="needs an Engine or a Registry"):
        SessionKit(Flask("x"))
    app = FastAPI()
    app.add_route("/", lambda request: session_of(request))
    with pytest.raises(InvalidRequestError, match="no SessionMiddleware"):
        TestClient(app).get("/")


def test_an_application_that_answers_itself() -> None:
    """Its own error handler comes first."""
    with create_engine("sqlite://") as engine:
        engine.execute("create table item (id integer primary key, name text unique, price real)")
        app = flask_app(engine)
        app.register_error_handler(UniqueViolation, lambda exc: ({"mine": exc.column}, 400))
        fast = fastapi_app(engine)
        fast.add_exception_handler(UniqueViolation, lambda request, exc: JSONResponse({"mine": exc.column}, 400))
        for client in (app.test_client(), TestClient(fast)):
            client.post("/items/tea/9")
            found = client.post("/items/tea/9")
            assert (found.status_code, found.json if isinstance(found.json, dict) else found.json()) == (
                400,
                {"mine": "name"},
            )
