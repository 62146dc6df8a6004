"""psycopg's pipeline mode: whether there is one, and the way out of one that failed."""

from __future__ import annotations

from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@cache
def pipelines() -> bool:
    """Tell whether this libpq has a pipeline mode."""
    import psycopg

    return psycopg.Pipeline.is_supported()


def drain(pipeline: Any) -> None:
    """Read what is left of a failed pipeline: each sync brings the next error, until none is left or the wire is cut."""
    import psycopg

    while True:
        try:
            pipeline.sync()
            return
        except psycopg.errors.PipelineAborted:
            continue
        except psycopg.Error:
            if pipeline.pgconn.status != psycopg.pq.ConnStatus.OK:
                return
