"""What a moment means, in words: for whoever has not seen a transaction before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .moments import ENDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .moments import Lane, Moment

MARKS = {
    "begin": "┌", "commit": "✔", "rollback": "✘", "commit failed": "✘", "lost": "✘", "ended": "└", "savepoint": "◇", "release": "◆",
    "rollback to": "↶", "waits": "‖", "pool": "‖", "turn": "‖", "prepare": "◈", "retry": "↻", "note": "·", "statement": "│",
}  # fmt: skip
"""One sign for each kind."""
_SLOW = 0.05
"""Seconds from which a statement says how long it took."""
_ERRORS = {
    "DeadlockError": "each waited for a lock that the other held, so neither could ever go on; the database chose this one to "
    "undo, and the other goes on",
    "SerializationError": "somebody else has changed what this transaction had read, so it could not be as if it had been alone; "
    "run all of it again",
    "LockTimeoutError": "it waited for a lock that another transaction holds, for as long as is allowed",
    "UniqueViolation": "there is a row with this key already",
    "ForeignKeyViolation": "it points to a row that is not there, or takes away a row that another one points to",
    "CheckViolation": "a rule of the table (CHECK) does not allow this value",
    "NotNullViolation": "a column that must have a value was given none",
    "TransactionAbortedError": "an earlier statement of this transaction failed, so nothing more can be done in it but a rollback",
    "QueryCancelledError": "it took longer than is allowed, or somebody stopped it",
    "StaleObjectError": "somebody else has changed this row since it was read, and nothing was overwritten",
    "DisconnectionError": "the connection was cut",
    "CommitUnknownError": "the connection was cut while COMMIT was under way: nobody knows whether it happened",
}


class Words:
    """Says what the moments of a recording mean."""

    def __init__(self, lanes: Sequence[Lane], moments: Sequence[Moment]) -> None:
        self._lanes = lanes
        self._moments = moments
        self._ends = {one.transaction: one for one in moments if one.kind in ENDS}

    def title(self, moment: Moment) -> str:
        """Return a moment in a few words."""
        kind, error = moment.kind, f" → {moment.error}" if moment.error else ""
        if kind == "waits":
            return f"waits for {self._name(moment.about)}"
        if kind == "pool":
            return f"waited {_took(moment)} for a connection"
        if kind == "turn":
            return f"waited {_took(moment)} for its turn to write"
        if kind in ("note", "retry"):
            return moment.text + (f" ({moment.error})" if moment.error else "")
        if kind == "statement":
            slow = f" after {_took(moment)}" if moment.seconds >= _SLOW and not moment.error else ""
            found = f" → {_rows(moment)}" if moment.rowcount >= 0 and not moment.error else ""
            return f"{on_one_line(moment)}{slow}{found}{error}"
        words = {"commit failed": "COMMIT failed", "lost": "LOST", "ended": "ended by the database"}
        return f"{words.get(kind, kind.upper())} {moment.text}".strip() + error

    def explained(self, moment: Moment) -> str:
        """Return what a moment means, in one to three sentences."""
        said: str = getattr(self, f"_{moment.kind.replace(' ', '_')}")(moment, self._name(moment.lane))
        if moment.error and moment.kind != "retry":
            said += f" {moment.error}: {_ERRORS.get(moment.error, 'the database refused it')}."
        if moment.error == "DeadlockError" and moment.kind == "statement":
            said += self._other_side(moment)
        return said

    # -- each kind

    def _statement(self, moment: Moment, who: str) -> str:
        if moment.error:
            return f"{who} tried this statement; it failed after {_took(moment)}."
        alone = " in a transaction of its own, which commits by itself" if moment.transaction is None else ""
        counted = f" and found or changed {_rows(moment)}" if moment.rowcount >= 0 else ""
        end = self._ends.get(moment.transaction) if moment.transaction is not None else None
        after = ""
        if moment.transaction is not None:
            after = " What it changed is seen by nobody else until COMMIT"
            if end is not None:
                after += (
                    f", {end.at - moment.at:.2f} s later" if end.kind == "commit" else f"; there was none ({end.kind})"
                )
            after += "."
        return f"{who} runs this statement{alone}. It took {_took(moment)}{counted}.{after}"

    def _begin(self, moment: Moment, who: str) -> str:
        return f"Transaction {moment.transaction} begins: all that {who} does from here on is kept together, or not at all."

    def _commit(self, moment: Moment, who: str) -> str:
        return f"Transaction {moment.transaction} is committed: from now on everybody sees what {who} changed, and it stays."

    def _rollback(self, moment: Moment, who: str) -> str:
        return f"Transaction {moment.transaction} is rolled back: nothing of what {who} changed in it is there."

    def _lost(self, moment: Moment, who: str) -> str:
        return f"Transaction {moment.transaction} is lost with its connection: nothing of what {who} changed in it is there."

    def _ended(self, moment: Moment, who: str) -> str:
        return (
            f"Transaction {moment.transaction} was ended by the database itself, not by a COMMIT or ROLLBACK of {who}."
        )

    def _commit_failed(self, moment: Moment, who: str) -> str:
        return f"The COMMIT of transaction {moment.transaction} failed."

    def _savepoint(self, moment: Moment, who: str) -> str:
        return f"A savepoint: {who} can undo what comes after it without losing what came before."

    def _release(self, moment: Moment, who: str) -> str:
        return (
            "The inner block ended well: what it did is part of the transaction around it, and is committed with that."
        )

    def _rollback_to(self, moment: Moment, who: str) -> str:
        return f"What {who} did since the savepoint is undone; the transaction goes on with what came before it."

    def _prepare(self, moment: Moment, who: str) -> str:
        return (
            f"Transaction {moment.transaction} is prepared: the database keeps what {who} changed, whatever happens, until the "
            "first database of this transaction has committed, and then commits too."
        )

    def _waits(self, moment: Moment, who: str) -> str:
        other = self._name(moment.about)
        return (
            f"{who} waits for {other}, which holds a lock that {who} needs. It goes on when {other}'s transaction ends."
        )

    def _pool(self, moment: Moment, who: str) -> str:
        return f"{who} waited {_took(moment)} for a connection: all were lent, or a new one had to be made."

    def _turn(self, moment: Moment, who: str) -> str:
        return f"SQLite has one writer at a time: {who} waited {_took(moment)} until the one before it had ended."

    def _retry(self, moment: Moment, who: str) -> str:
        return (
            f"{moment.text.capitalize()} after {moment.error}: it left nothing behind, so all of it can be done again."
        )

    def _note(self, moment: Moment, who: str) -> str:
        return moment.text

    def _other_side(self, moment: Moment) -> str:
        """Return which other statement a deadlock was with: one that was under way when this one failed."""
        end = moment.at + moment.seconds
        for other in self._moments:
            if (
                other.kind == "statement" and other.lane != moment.lane and other.database == moment.database
                and other.at < end < other.at + other.seconds + 0.02 and not other.error and other.transaction
            ):  # fmt: skip
                return f" The other one: {self._name(other.lane)} with “{on_one_line(other)}”."
        return ""

    def _name(self, lane: int | None) -> str:
        return self._lanes[lane].name if lane is not None and lane < len(self._lanes) else "another session"


def on_one_line(moment: Moment) -> str:
    """Return a moment's statement without the program's line breaks."""
    return " ".join(moment.text.split())


def _took(moment: Moment) -> str:
    return f"{moment.seconds:.2f} s" if moment.seconds >= 0.1 else f"{moment.seconds * 1000:.1f} ms"


def _rows(moment: Moment) -> str:
    return "1 row" if moment.rowcount == 1 else f"{moment.rowcount} rows"
