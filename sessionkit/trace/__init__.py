"""
What sessions, transactions, statements, locks, the pool and `run` did, recorded, and shown as lanes.

::

    with sessionkit.trace.record(engine) as recording:
        work()
    print(recording.text())
    recording.save("out.html")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .moments import Lane, Moment
    from .recording import Recording, record

__all__ = ["Lane", "Moment", "Recording", "record"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{'moments' if name in ('Lane', 'Moment') else 'recording'}"), name)
