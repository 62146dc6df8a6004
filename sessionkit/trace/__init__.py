"""
What sessions, transactions, statements, locks, the pool and `run` did, recorded, and shown as lanes.

::

    with sessionkit.trace.record(engine) as recording:
        work()
    print(recording.text())
    recording.save("out.html")
"""

from .moments import Lane, Moment
from .recording import Recording, record

__all__ = ["Lane", "Moment", "Recording", "record"]
