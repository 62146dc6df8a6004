"""OpenTelemetry: what the SDK's in-memory exporters get, and what the instrumentations of drivers add: nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.pymysql import PyMySQLInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sessionkit import (
    ArgumentError,
    PoolTimeoutError,
    Registry,
    Retry,
    SerializationError,
    UniqueViolation,
    create_engine,
)
from sessionkit.otel import described, instrument

from .conftest import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Database

SYSTEMS = {"sqlite": "sqlite", "postgres": "postgresql", "mariadb": "mysql"}
INSTRUMENTORS = {"sqlite": SQLite3Instrumentor, "postgres": PsycopgInstrumentor, "mariadb": PyMySQLInstrumentor}


class Exported:
    """Providers, and what they exported."""

    def __init__(self) -> None:
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider = MeterProvider([self._reader])

    @property
    def providers(self) -> dict[str, Any]:
        """Both, for `instrument`."""
        return {"tracer_provider": self.tracer_provider, "meter_provider": self.meter_provider}

    def spans(self) -> list[Any]:
        """Return the spans that have ended, in the order of their starts."""
        return sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time)

    def metrics(self) -> dict[str, list[Any]]:
        """Return the points of each metric."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def exported() -> Iterator[Exported]:
    """Providers of this test."""
    found = Exported()
    yield found
    found.meter_provider.shutdown()


def test_spans_of_a_transaction(db: Database, exported: Exported) -> None:
    """A transaction is a span, its statements are its children; no value is in any; when it is ended, nothing more comes."""
    engine = db.engine(name="shop")
    stop = instrument(engine, **exported.providers)
    tracer = exported.tracer_provider.get_tracer("test")
    with tracer.start_as_current_span("request"), engine.begin() as session:
        session.execute("insert into item (name, price) values (:name, 17.25)", {"name": "secret"})
        with session.begin_nested():
            session.execute("select count(*) from item where name <> 'hidden'")
        with pytest.raises(UniqueViolation), session.begin_nested():
            session.insert(Item("secret", 1))
    stop()
    engine.execute("select 1")
    spans = exported.spans()
    request = next(span for span in spans if span.name == "request")
    transaction = next(span for span in spans if span.name == "transaction shop")
    assert transaction.parent.span_id == request.context.span_id
    assert transaction.attributes["sessionkit.transaction.outcome"] == "committed"
    statements = [span for span in spans if span.kind is SpanKind.CLIENT]
    assert [span.name for span in statements] == ["INSERT item", "SELECT item", "INSERT item"]
    assert {span.parent.span_id for span in statements} == {transaction.context.span_id}
    first, second, third = (dict(span.attributes) for span in statements)
    assert first["db.query.text"] == "insert into item (name, price) values (:name, ?)"
    assert second["db.query.text"] == "select count(*) from item where name <> ?"
    assert first["db.system.name"] == SYSTEMS[db.kind]
    assert (first["db.operation.name"], first["db.query.summary"]) == ("INSERT", "INSERT item")
    assert first["db.namespace"] == engine.url.database
    assert (third["error.type"], statements[2].status.status_code) == ("UniqueViolation", StatusCode.ERROR)
    if db.kind != "sqlite":
        assert (first["server.address"], first["server.port"]) == ("127.0.0.1", db.server.port)
        assert third["db.response.status_code"] in ("23505", "1062")
    assert [event.name for event in transaction.events] == [
        "sessionkit.savepoint", "sessionkit.release", "sessionkit.savepoint", "sessionkit.rollback_to",
    ]  # fmt: skip
    assert "secret" not in repr([span.to_json() for span in spans])
    for span in statements:
        assert transaction.start_time <= span.start_time <= span.end_time <= transaction.end_time


def test_ends_of_transactions(postgres: Database, exported: Exported) -> None:
    """Rolled back, lost with its connection, refused at COMMIT: each is a span with that outcome."""
    engine = postgres.engine()
    engine.execute(
        "create table late (id integer primary key, next integer references late (id) deferrable initially deferred)"
    )
    stop = instrument(engine, **exported.providers)
    with engine.session() as session:
        session.execute("select 1")
        session.rollback()
        pid = session.scalar("select pg_backend_pid()")
        postgres.main.execute("select pg_terminate_backend(?)", [pid])
        with pytest.raises(Exception, match=r"terminating|connection"):
            session.execute("select 2")
        session.rollback()
        session.execute("insert into late values (1, 2)")
        with pytest.raises(Exception, match="late"):
            session.commit()
    stop()
    engine.execute("drop table late")
    ended = [
        (span.attributes["sessionkit.transaction.outcome"], span.status.status_code, span.attributes.get("error.type"))
        for span in exported.spans()
        if span.name.startswith("transaction")
    ]
    assert ended == [
        ("rolled back", StatusCode.UNSET, None),
        ("lost", StatusCode.ERROR, None),
        ("rolled back", StatusCode.ERROR, "ForeignKeyViolation"),
    ]


def test_attempts_are_events_of_the_current_span(db: Database, exported: Exported) -> None:
    """With what failed, and the pause."""
    engine = db.engine()
    stop = instrument(engine, **exported.providers)
    tries = []

    def work(session: Any) -> None:
        tries.append(session.scalar("select 1"))
        if len(tries) < 3:
            raise SerializationError("again", sqlstate="40001")

    with exported.tracer_provider.get_tracer("test").start_as_current_span("job"):
        engine.run(work, retry=Retry(3, base=0))
    stop()
    job = next(span for span in exported.spans() if span.name == "job")
    assert [(event.name, dict(event.attributes)) for event in job.events] == [
        ("sessionkit.retry", {"attempt": 1, "error.type": "SerializationError", "pause": 0.0}),
        ("sessionkit.retry", {"attempt": 2, "error.type": "SerializationError", "pause": 0.0}),
    ]


def test_metrics(db: Database, exported: Exported) -> None:
    """The pool's state and times, and how long operations took, under the names of the conventions."""
    registry = Registry({"shop": db.main, "memory": create_engine("sqlite://")})
    stop = instrument(registry, **exported.providers)
    engine = db.engine(name="small", pool_size=2, pool_timeout=0.05)
    stop_small = instrument(engine, **exported.providers)
    sessions = [engine.session() for _ in range(2)]
    for session in sessions:
        session.execute("select name from item")
    with pytest.raises(PoolTimeoutError):
        engine.session().execute("select 1")
    sessions.pop().close()
    found = exported.metrics()
    sessions.pop().close()

    def points(name: str) -> list[Any]:
        return [
            point
            for point in found[f"db.client.{name}"]
            if point.attributes.get("db.client.connection.pool.name") == "small"
        ]

    states = {point.attributes["db.client.connection.state"]: point.value for point in points("connection.count")}
    assert states == {"idle": 1, "used": 1}
    assert [point.value for point in points("connection.max")] == [2]
    assert [point.value for point in points("connection.pending_requests")] == [0]
    assert [point.value for point in points("connection.timeouts")] == [1]
    assert [point.count for point in points("connection.create_time")] == [2]
    assert [point.count for point in points("connection.wait_time")] == [2]
    assert [point.count for point in points("connection.use_time")] == [1]
    durations = [
        point for point in found["db.client.operation.duration"] if point.attributes["db.operation.name"] == "SELECT"
    ]
    assert sum(point.count for point in durations) == 2
    assert durations[0].explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    stop_small()
    stop()
    registry["memory"].dispose()
    assert "db.client.connection.count" not in exported.metrics()


def test_beside_the_instrumentation_of_a_driver(db: Database, exported: Exported) -> None:
    """Each statement has one span; and sessionkit works with wrapped connections as with others."""
    instrumentor = INSTRUMENTORS[db.kind]()
    instrumentor.instrument(tracer_provider=exported.tracer_provider)
    try:
        engine = db.engine()
        stop = instrument(engine, **exported.providers)
        with engine.begin() as session:
            session.insert(Item("a", 1))
            with session.begin_nested():
                session.execute("update item set price = 2 where name = :name", {"name": "a"})
            with pytest.raises(UniqueViolation), session.begin_nested():
                session.insert(Item("a", 1))
            session.copy_in("item", [{"name": "b", "price": 1}])
            with session.stream("select name from item order by name") as rows:
                assert [row.name for row in rows] == ["a", "b"]
        with pytest.raises(KeyError), engine.begin() as session:
            session.insert(Item("c", 1))
            raise KeyError
        stop()
        engine.dispose()
    finally:
        instrumentor.uninstrument()
    assert db.names() == ["a", "b"]
    updates = [span for span in exported.spans() if "price = 2" in str(span.attributes)]
    assert len(updates) == 1
    assert len([span for span in exported.spans() if span.name.startswith("transaction")]) == 2
    with db.main.begin() as session:
        session.execute("select 1")


def test_summaries() -> None:
    """Operation and tables; literals are hidden, names are not."""
    engine = create_engine("sqlite://")
    cases = {
        "select a.b from shop.orders o join \"my table\" using (id) where x = 'y' and z > 1.5":
            ("SELECT shop.orders my table", "select a.b from shop.orders o join \"my table\" using (id) where x = ? and z > ?"),
        "/* hint */ INSERT INTO `t` VALUES (?, :a, 7)": ("INSERT t", "/* hint */ INSERT INTO `t` VALUES (?, :a, ?)"),
        "(select 1)": ("OTHER", "(select ?)"),
        "create table x (n integer)": ("CREATE x", "create table x (n integer)"),
    }  # fmt: skip
    for sql, (summary, text) in cases.items():
        found = described(sql, engine)
        assert (found[0], found[2]) == (summary, text)


def test_what_is_no_engine() -> None:
    """Said at once."""
    with pytest.raises(ArgumentError, match="takes an Engine or a Registry"):
        instrument("sqlite://")  # type: ignore[arg-type]
