"""
Sessions for asyncio and trio: `pip install 'dbapi-sessionkit[aio]'`.

::

    engine = AsyncEngine(create_engine("postgresql://localhost/shop"))

    async with engine.begin() as session:
        rows = (await session.execute("select * from orders where who = :who", {"who": "Ada"})).all()

The names, the promises and the errors are those of `Session`. Each call runs in a worker thread; who waits for a connection
waits in the event loop. A task that is cancelled cancels its statement on the server, and ends when that has ended.
"""

from .engine import AsyncEngine, AsyncRegistry
from .session import AsyncSession
from .transaction import AsyncStream, AsyncTransaction

__all__ = ["AsyncEngine", "AsyncRegistry", "AsyncSession", "AsyncStream", "AsyncTransaction"]
