"""Which exception is raised when several things fail: the user's, with the failures of cleaning up as notes on it."""

from __future__ import annotations

from .. import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._typing import Hook


def quieten(failures: list[BaseException], because: BaseException | None = None) -> tuple[str, ...]:
    """
    Log the errors of databases, and take them out of what is to be raised; what is left are interruptions.

    They become notes on `because`, the exception in flight. Returns the texts of those that say that work may be kept.
    """
    kept: tuple[str, ...] = ()
    for failed in failures:
        if isinstance(failed, errors.Error):
            if isinstance(failed, (errors.TransactionLostError, errors.RollbackIncompleteError)):
                _log("a rollback did not undo everything: %s", _described(failed))
                kept += (str(failed),)
            else:
                _log("rolling back failed, the connection was closed: %s", _described(failed))
            if because is not None:
                because.add_note(f"while cleaning up: {_described(failed)}")
    failures[:] = [failed for failed in failures if not isinstance(failed, errors.Error)]
    return kept


def raise_first(failures: list[BaseException]) -> None:
    """Raise an interrupt if there is one, else the first failure; the others become notes on it. The list is emptied."""
    if failures:
        raise _first(failures)


def _first(failures: list[BaseException]) -> BaseException:
    """Return what is to be raised; here, because a frame that keeps what is raised through it makes a cycle."""
    first = next((failed for failed in failures if not isinstance(failed, Exception)), failures[0])
    for other in failures:
        if other is not first:
            note(first, other)
    failures.clear()
    return first


def note(exc: BaseException, failed: BaseException) -> None:
    """Add to `exc` that cleaning up failed too, and log it. Our texts hold no values."""
    text = _described(failed)
    exc.add_note(f"while cleaning up: {text}")
    _log("cleaning up failed after %s: %s", type(exc).__name__, text)


def _described(failed: BaseException) -> str:
    text = f": {failed}" if isinstance(failed, errors.Error) else ""
    return f"{type(failed).__name__}{text}"


def run_hooks(hooks: tuple[Hook, ...]) -> None:
    """Run every hook, then raise what failed: an interrupt as itself, one error as itself, several as a group."""
    failures: list[BaseException] = []
    try:
        for hook in hooks:
            try:
                hook()
            except BaseException as exc:
                failures.append(exc)
        if len(failures) > 1 and all(isinstance(failed, Exception) for failed in failures):
            failures[:] = [BaseExceptionGroup("several hooks failed", failures)]
        raise_first(failures)
    finally:
        failures.clear()


def _log(text: str, *arguments: object) -> None:
    from logging import getLogger

    getLogger("sessionkit.session").warning(text, *arguments)
