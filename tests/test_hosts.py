"""Several hosts in one URL, against real servers: the next one where one does not answer, or is not what is wanted."""

from __future__ import annotations

import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import ArgumentError, DisconnectionError, cli, create_engine, trace
from sessionkit.testing import servers
from sessionkit.testing.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Database


@pytest.fixture(scope="module")
def second() -> Iterator[Any]:
    """A second server."""
    server = servers.start_mariadb(servers.make_folder())
    yield server
    server.stop()


@pytest.fixture
def other(second: Any, mariadb: Database) -> Any:
    """The second server, running."""
    if second.process is None:
        second.start()
    return second


def url_of(*ports: int, query: str = "") -> str:
    """Return a URL with these places."""
    return f"mysql://root@{','.join(f'127.0.0.1:{port}' for port in ports)}/test{query}"


def port_of(url: str, **options: Any) -> int:
    """Return the port of the server that a URL leads to."""
    with create_engine(url, **options) as engine:
        return int(engine.execute("select @@port").scalar())


def read_only(url: str, value: int) -> None:
    """Make a server a standby, or no longer."""
    with create_engine(url) as engine:
        engine.execute(f"set global read_only = {value}")


def test_the_next_host(mariadb: Database, other: Any) -> None:
    """Nobody answers at the first; the second is read-only; one that takes writes is found, and said which others are not."""
    free, first, second = servers.free_port(), mariadb.server.port, other.port
    assert port_of(url_of(free, first, second)) == first
    read_only(mariadb.url, 1)
    try:
        assert port_of(url_of(free, first, second)) == second
        assert port_of(url_of(free, first, second, query="?target=any")) == first
        assert port_of(url_of(second, first, query="?target=standby")) == first
        assert port_of(url_of(first, query="?target=standby")) == first
        with pytest.raises(DisconnectionError) as caught:
            port_of(url_of(free, first), pool_timeout=0.5)
        assert f"127.0.0.1:{free}: " in str(caught.value)
        assert f"127.0.0.1:{first}: it is read-only" in str(caught.value)
        with pytest.raises(DisconnectionError, match="it is no standby"):
            port_of(url_of(second, query="?target=standby"), pool_timeout=0.5)
    finally:
        read_only(mariadb.url, 0)


def test_in_any_order(mariadb: Database, other: Any) -> None:
    """`load_balance=random` spreads connections over both."""
    url = url_of(mariadb.server.port, other.port, query="?load_balance=random")
    assert {port_of(url) for _ in range(30)} == {mariadb.server.port, other.port}


def test_a_host_that_is_frozen(mariadb: Database, other: Any) -> None:
    """It has its share of the time for connecting; then the next one is asked."""
    other.freeze()
    try:
        started = time.monotonic()
        assert port_of(url_of(other.port, mariadb.server.port), connect_timeout=2) == mariadb.server.port
        assert 0.5 < time.monotonic() - started < 4
    finally:
        other.thaw()


def test_a_host_that_fails_when_it_is_asked(mariadb: Database, other: Any) -> None:
    """It answers and then hangs up, as it is asked what it is: that is a reason to ask the next one."""
    with Proxy(other.port) as proxy:
        proxy.on_sent = lambda data: b"@@global.read_only" not in data
        assert port_of(url_of(proxy.port, mariadb.server.port)) == mariadb.server.port
        with pytest.raises(DisconnectionError, match=f"127.0.0.1:{proxy.port}: "):
            port_of(url_of(proxy.port, servers.free_port()), pool_timeout=0.5)


def test_a_server_that_stops(mariadb: Database, other: Any) -> None:
    """The engine goes on at the other one; what is cancelled is cancelled where it runs."""
    with create_engine(url_of(other.port, mariadb.server.port)) as engine:
        assert engine.execute("select @@port").scalar() == other.port
        lease = engine.pool.checkout()
        engine.cancel(lease.conn)  # KILL QUERY goes to the host of that connection
        engine.pool.discard(lease)
        other.stop()
        assert engine.run(lambda session: session.scalar("select @@port")) == mariadb.server.port


def test_which_host_it_is(mariadb: Database, postgres: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """Told by `check`, in the text of who holds a connection, and in the trace; with one host it is in the URL."""
    gone = servers.free_port()
    for url, port in (
        (url_of(gone, mariadb.server.port), mariadb.server.port),
        (f"postgresql://postgres@127.0.0.1:{gone},127.0.0.1:{postgres.server.port}/postgres", postgres.server.port),
    ):
        assert cli.main(["check", url]) == 0
        assert f"host        127.0.0.1:{port}\n" in capsys.readouterr().out
        with create_engine(url) as engine, trace.record(engine) as recording, engine.begin() as session:
            session.scalar("select 1")
            (lease,) = engine.pool.leases()
            assert lease.host == f"127.0.0.1:{port}"
            assert f", on 127.0.0.1:{port}" in str(lease)
        assert [moment.text for moment in recording.events if moment.kind == "note"] == [f"on 127.0.0.1:{port}"]
    with mariadb.main.begin() as session:
        session.scalar("select 1")
        assert mariadb.main.pool.leases()[0].host is None


def test_postgresql(postgres: Database) -> None:
    """libpq does the same: by default the one that takes writes."""
    free, port = servers.free_port(), postgres.server.port
    places = f"postgresql://postgres@127.0.0.1:{free},127.0.0.1:{port}/postgres"
    for query in ("", "?target=any", "?target=read-write", "?load_balance=random"):
        with create_engine(places + query) as engine:
            assert engine.execute("select inet_server_port()").scalar() == port
    with create_engine(f"{places}?target=standby", pool_timeout=0.5) as engine, pytest.raises(DisconnectionError):
        engine.execute("select 1")


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_what_cannot_be(scheme: str) -> None:
    """Refused before anybody is asked."""
    with pytest.raises(ArgumentError, match="target is one of read-write, any, standby; got 'primary'"):
        create_engine(f"{scheme}://a,b/d?target=primary")
    with pytest.raises(ArgumentError, match="load_balance is random"):
        create_engine(f"{scheme}://a,b/d?load_balance=round-robin")


def test_what_interrupts_connecting_comes_out(mariadb: Database) -> None:
    """A signal handler's exception is no reason to ask the next host."""

    class TimeIsUpError(Exception):
        """What a handler raises."""

    def ring(*_: object) -> None:
        raise TimeIsUpError

    frozen = socket.create_server(("127.0.0.1", 0))  # takes connections, and says nothing
    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(TimeIsUpError):
            port_of(url_of(frozen.getsockname()[1], mariadb.server.port), connect_timeout=20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        frozen.close()
