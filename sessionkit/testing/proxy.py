"""A wire between client and server that a test can watch, cut, stop and slow down."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def is_commit(data: bytes) -> bool:
    """Tell whether a client's packet is COMMIT alone, in PostgreSQL's protocol (plain or prepared) or MySQL's."""
    words = data.upper()
    return words.endswith((b"\x03COMMIT", b"COMMIT\x00")) or (words[:1] == b"P" and b"\x00COMMIT\x00" in words)


class Commits:
    """Tells which of a client's packets lets the server commit: of a prepared COMMIT (pg8000) the one that executes it."""

    def __init__(self) -> None:
        self._is_prepared = False

    def __call__(self, data: bytes) -> bool:
        """Look at a packet."""
        if is_commit(data):
            self._is_prepared = data[:1] == b"P" and b"E\x00\x00\x00\t" not in data
            return not self._is_prepared
        if self._is_prepared and data[:1] == b"B":
            self._is_prepared = False
            return True
        return False


class Proxy:
    """
    Forwards TCP connections to `port` on this machine, from the port `self.port`. Close it after use.

    `trips` counts round trips: how often a client spoke after it had been answered. `delay` is the time that bytes take one
    way, in seconds, and `trickle` the time that each byte of an answer takes. `on_sent(data)` and `on_answer(data)` look at what
    passes; they return False to cut the connection there and then, with `data` not passed on, or other bytes to pass instead. While
    `frozen`, nothing passes, and nothing is refused; while `refusing`, every new connection is cut.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.trips = 0
        self.delay = 0.0
        self.trickle = 0.0
        self.frozen = False
        self.refusing = False
        self.on_sent: Callable[[bytes], bool | bytes] = lambda data: True
        self.on_answer: Callable[[bytes], bool | bytes] = lambda data: True
        self._pairs: set[Pair] = set()
        self._on_the_way: deque[tuple[float, Callable[[], object]]] = deque()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self.closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Cut every connection that is open now."""
        for pair in list(self._pairs):
            pair.cut()

    def close(self) -> None:
        """Cut everything and stop listening."""
        self.closing = True
        self._thread.join(5)
        self.cut()
        self._listener.close()
        self._selector.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self.closing:
            if self.frozen:
                time.sleep(0.01)  # frozen: nothing to do
                continue
            for key, _ in self._selector.select(min(0.05, self._until_due())):
                if self.frozen:  # since it began to wait: what has come stays where it is
                    break
                key.data(key.fileobj)
            while self._on_the_way and self._until_due() <= 0:
                self._on_the_way.popleft()[1]()

    def later(self, deliver: Callable[[], object]) -> None:
        """Deliver something when it has been on the way for as long as the wire is; what is sent meanwhile does not wait for it."""
        self._on_the_way.append((time.monotonic() + self.delay, deliver))

    def _until_due(self) -> float:
        return max(self._on_the_way[0][0] - time.monotonic(), 0.0) if self._on_the_way else 0.05

    def _accept(self, listener: Any) -> None:
        client, _ = listener.accept()
        if self.refusing:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:  # nobody listens there now: as if nobody listened here
            client.close()
            return
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = Pair(self, client, server)
        self._pairs.add(pair)
        self._selector.register(client, selectors.EVENT_READ, pair.sent)
        self._selector.register(server, selectors.EVENT_READ, pair.answered)

    def forget(self, pair: Pair) -> None:
        """Stop listening to a pair that was cut."""
        self._pairs.discard(pair)
        for sock in (pair.client, pair.server):
            try:
                self._selector.unregister(sock)
            except (KeyError, ValueError):
                pass


class Pair:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self.client = client
        self.server = server
        self._answered = True
        self._lock = threading.Lock()

    def sent(self, sock: Any) -> None:
        """The client spoke."""
        data = self._read(self.client)
        if data and self._answered:
            self._proxy.trips += 1
            self._answered = False
        self._pass(data, self._proxy.on_sent, self.server)

    def answered(self, sock: Any) -> None:
        """The server spoke."""
        data = self._read(self.server)
        self._answered = True
        self._pass(data, self._proxy.on_answer, self.client)

    def _read(self, sock: socket.socket) -> bytes:
        try:
            return sock.recv(65536)
        except OSError:
            return b""

    def _pass(self, data: bytes, look: Callable[[bytes], bool | bytes], to: socket.socket) -> None:
        passed = data and look(data)
        if isinstance(passed, bytes) and passed:
            data = passed
        if self._proxy.delay:  # that is what a distant server is
            self._proxy.later(lambda: self._deliver(data if passed else b"", to))
        else:
            self._deliver(data if passed else b"", to)

    def _deliver(self, data: bytes, to: socket.socket) -> None:
        """Pass something on; nothing is the end."""
        if not data:
            self.cut()
            return
        try:
            while self._proxy.trickle and to is self.client and data and not self._proxy.closing:
                to.sendall(data[:1])
                data = data[1:]
                time.sleep(self._proxy.trickle)  # and a slow wire
            to.sendall(data)
        except OSError:
            self.cut()

    def cut(self) -> None:
        """Close both ends."""
        with self._lock:
            self._proxy.forget(self)
            for sock in (self.client, self.server):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:  # closed by its other end
                    pass
                sock.close()
