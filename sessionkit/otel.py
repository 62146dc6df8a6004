"""
OpenTelemetry: spans for statements and transactions, metrics of the pool: `pip install 'dbapi-sessionkit[otel]'`.

::

    stop = sessionkit.otel.instrument(registry)

Names are those of OpenTelemetry's semantic conventions for databases (v1.33 and later). No value of a parameter is in a span, and a
literal in a statement's text is `?` there.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, StatusCode

from .events import ConnectionEvent, RetryEvent, StatementEvent, TransactionEvent
from .registry import engines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from .engine import Engine
    from .events import Event, Origin
    from .registry import Registry

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
"""The bounds that the conventions ask for (db.client.operation.duration)."""
_OUTCOMES = {
    "commit": "committed",
    "rollback": "rolled back",
    "commit failed": "rolled back",
    "lost": "lost",
    "ended": "ended",
}


def instrument(
    bind: Engine | Registry,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Callable[[], None]:
    """
    Make spans and metrics of what happens on an engine, or on each engine of a registry; the function returned ends it.

    A transaction is a span, each of its statements a span in it, savepoints and failed attempts of `run` are events. Where the
    driver itself is instrumented (`opentelemetry-instrumentation-psycopg` and such), the statements' spans are left to that.

    Raises:
        ArgumentError: `bind` is neither.
    """
    engines = engines_of(bind, "instrument()")
    tracer = trace.get_tracer(__name__, tracer_provider=tracer_provider)
    measures = _measures_of(meter_provider or metrics.get_meter_provider())
    measures.engines += engines
    stops = [engine.listen(Spans(engine, tracer, measures)) for engine in engines]

    def stop() -> None:
        """End it: spans that are open stay so."""
        for end in stops:
            end()
        while engines:
            measures.engines.remove(engines.pop())

    return stop


class Measures:
    """The instruments: how long operations take, and the pool's state."""

    def __init__(self, meter: Meter) -> None:
        self.engines: list[Engine] = []

        def histogram(name: str, description: str) -> Any:
            """Return one of seconds."""
            return meter.create_histogram(
                name, unit="s", description=description, explicit_bucket_boundaries_advisory=_SECONDS
            )

        self.duration = histogram("db.client.operation.duration", "Duration of database client operations")
        pool = "db.client.connection."
        self.times = {
            "connect": histogram(f"{pool}create_time", "The time it took to create a new connection"),
            "checkout": histogram(f"{pool}wait_time", "The time it took to obtain an open connection from the pool"),
            "use": histogram(f"{pool}use_time", "The time between borrowing a connection and returning it"),
        }
        observed: list[tuple[Any, str, str, str, list[tuple[str, dict[str, str]]]]] = [
            (meter.create_observable_up_down_counter, "count", "{connection}", "Connections by state",
             [(state, {f"{pool}state": state}) for state in ("idle", "used")]),
            (meter.create_observable_up_down_counter, "max", "{connection}", "Connections allowed", [("max", {})]),
            (meter.create_observable_up_down_counter, "pending_requests", "{request}", "Who waits for a connection",
             [("pending_requests", {})]),
            (meter.create_observable_counter, "timeouts", "{timeout}", "Who has waited in vain", [("timeouts", {})]),
        ]  # fmt: skip
        for make, name, unit, description, parts in observed:
            make(f"{pool}{name}", callbacks=[self._observer(parts)], unit=unit, description=description)

    def _observer(self, parts: list[tuple[str, dict[str, str]]]) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(options: CallbackOptions) -> Iterator[Observation]:
            """Look at each pool."""
            for engine in self.engines:
                stats = engine.pool.stats()
                for key, attributes in parts:
                    yield metrics.Observation(stats[key], {**pool_name(engine), **attributes})

        return observe


_kept: WeakKeyDictionary[MeterProvider, Measures] = WeakKeyDictionary()


def _measures_of(provider: MeterProvider) -> Measures:
    """Return the instruments of a provider, which has each of them once."""
    found = _kept.get(provider)
    if found is None:
        found = _kept[provider] = Measures(provider.get_meter(__name__))
    return found


class Spans:
    """A listener of one engine, which makes spans of its events, and measures them."""

    def __init__(self, engine: Engine, tracer: Tracer, measures: Measures) -> None:
        self._engine = engine
        self._tracer = tracer
        self._measures = measures
        self._open: dict[int, Span] = {}  # by transaction
        self._lent: dict[int, float] = {}
        self._server = server(engine)

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, StatementEvent):
            self._statement(event)
        elif isinstance(event, TransactionEvent):
            self._transaction(event)
        elif isinstance(event, ConnectionEvent):
            self._connection(event)
        elif isinstance(event, RetryEvent):
            attributes: dict[str, Any] = {"attempt": event.attempt, "error.type": event.error}
            if event.pause is not None:
                attributes["pause"] = event.pause
            trace.get_current_span().add_event("sessionkit.retry", attributes)

    def _statement(self, event: StatementEvent) -> None:
        summary, operation, text = described(event.statement, self._engine)
        about = {**self._server, "db.operation.name": operation}
        if event.error is not None:
            about["error.type"] = event.error
        self._measures.duration.record(event.seconds, about)
        if is_instrumented(self._engine):
            return
        if event.code is not None:
            about["db.response.status_code"] = str(event.code)
        ended = time.time_ns()
        span = self._tracer.start_span(
            summary,
            context=self._context(event.origin),
            kind=SpanKind.CLIENT,
            start_time=ended - round(event.seconds * 1e9),
            attributes={**about, "db.query.text": text, "db.query.summary": summary},
        )
        if event.error is not None:
            span.set_status(StatusCode.ERROR, event.error)
        span.end(ended)

    def _context(self, origin: Origin | None) -> Any:
        span = self._open.get(origin.transaction) if origin is not None else None
        return None if span is None else trace.set_span_in_context(span)

    def _transaction(self, event: TransactionEvent) -> None:
        key, now = event.origin.transaction if event.origin is not None else 0, time.time_ns()
        if event.action == "begin":
            self._open[key] = self._tracer.start_span(
                f"transaction {self._engine.name}".strip(),
                start_time=now - round(event.seconds * 1e9),
                attributes=self._server,
            )
            return
        outcome = _OUTCOMES.get(event.action)
        span = self._open.get(key) if outcome is None else self._open.pop(key, None)
        if span is None:
            return
        if outcome is None:
            span.add_event(f"sessionkit.{event.action.replace(' ', '_')}", {"name": event.name or ""}, now)
            return
        span.set_attribute("sessionkit.transaction.outcome", outcome)
        if event.error is not None:
            span.set_attribute("error.type", event.error)
            if event.code is not None:
                span.set_attribute("db.response.status_code", str(event.code))
        if event.error is not None or outcome == "lost":
            span.set_status(StatusCode.ERROR, event.error or outcome)
        span.end(now)

    def _connection(self, event: ConnectionEvent) -> None:
        about, times = pool_name(self._engine), self._measures.times
        if event.action in ("connect", "checkout"):
            times[event.action].record(event.seconds, about)
        key = event.origin.transaction if event.origin is not None else 0
        if event.action == "checkout":
            self._lent[key] = time.perf_counter()
        elif event.action in ("checkin", "discard") and key in self._lent:
            times["use"].record(time.perf_counter() - self._lent.pop(key), about)


def pool_name(engine: Engine) -> dict[str, str]:
    """Return the pool's name: the engine's, or its URL without password."""
    return {"db.client.connection.pool.name": engine.name or str(engine.url)}


def server(engine: Engine) -> dict[str, Any]:
    """Return what the conventions say of a server."""
    url: Any = engine.url
    found: dict[str, Any] = {"db.system.name": engine.driver.system(engine.url.scheme)}
    for key, value in (("db.namespace", url.database), ("server.address", url.host), ("server.port", url.port)):
        if value:
            found[key] = value
    return found


def described(statement: str, engine: Engine) -> tuple[str, str, str]:
    """Return a statement's summary (SELECT orders), its operation (SELECT), and its text with `?` for each literal."""
    return _described(statement, engine.compiler.lexicon, engine.driver.identifier_quote)


_NAMING = frozenset(["FROM", "INTO", "UPDATE", "JOIN", "TABLE"])


@lru_cache(512)
def _described(statement: str, lexicon: Any, quote: str) -> tuple[str, str, str]:
    text, operation, before, tables = "", "", "", [""]
    for kind, piece in lexicon.tokens(statement):
        is_value = kind == "number" or (kind == "literal" and piece[0] not in (quote, "`", "["))
        text += "?" if is_value else piece
        if kind in ("space", "comment"):
            continue
        operation = operation or piece.upper()
        if not is_value and kind in ("word", "literal") and (before in _NAMING or (before == "." and tables[-1])):
            tables.append(tables.pop() + piece.strip('"`[]'))
        elif piece == "." and before not in _NAMING and tables[-1]:
            tables[-1] += "."
        elif tables[-1]:
            tables.append("")
        before = piece.upper()
    operation = operation if operation.isalpha() else "OTHER"
    return (
        " ".join(dict.fromkeys([operation, *filter(None, tables)]))[:255],
        operation,
        text.replace("?.?", "?").strip(),
    )


def is_instrumented(engine: Engine) -> bool:
    """Tell whether the driver's own `connect` is wrapped, as OpenTelemetry's instrumentations of drivers do."""
    wrapt = sys.modules.get("wrapt")
    module = sys.modules.get(engine.driver.module)
    return wrapt is not None and isinstance(getattr(module, "connect", None), wrapt.ObjectProxy)
