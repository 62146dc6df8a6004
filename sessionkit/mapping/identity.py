"""The identity map: one object per row while a transaction lasts. A dict with a spelling, and nothing clever."""

from __future__ import annotations

from _collections_abc import Mapping  # as `os` does: `collections.abc` would import all of `collections`

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

_NOTHING: Mapping[Any, Any] = {}


class Store:
    """The objects of one class from one database: by key, each with the row that it came from."""

    __slots__ = ("_filled", "_rows", "objects")

    def __init__(self) -> None:
        self.objects: dict[Any, Any] = {}
        self._rows: dict[Any, tuple[Any, ...]] = {}
        self._filled: tuple[Sequence[Any], Sequence[tuple[Any, ...]]] | None = None

    @property
    def rows(self) -> dict[Any, tuple[Any, ...]]:
        """The row that each object came from, by key; of many that came together it is sorted out when first asked for."""
        if self._filled is not None:
            keys, rows = self._filled
            self._rows = dict(zip(keys, rows, strict=True))
            self._filled = None
        return self._rows

    def key_of(self, obj: object, likely: Any) -> Any:
        """Return the key under which `obj` is held, or None; `likely` is where to look first."""
        if self.objects.get(likely) is obj:
            return likely
        for key, held in self.objects.items():  # its key attribute was changed
            if held is obj:
                return key
        return None

    def put(self, key: Any, obj: object, row: tuple[Any, ...]) -> None:
        """Hold `obj` under `key`, with the row that it came from."""
        self.objects[key] = obj
        self.rows[key] = row

    def fill(self, keys: Sequence[Any], objects: Sequence[Any], rows: Sequence[tuple[Any, ...]]) -> bool:
        """Hold many objects at once, in a store that holds none yet; False, and none is held, when two have one key."""
        found = dict(zip(keys, objects, strict=True))
        if len(found) != len(keys):
            return False
        self._filled = (keys, rows)  # first the rows, so that an interrupt leaves no object without one
        self.objects.update(found)
        return True

    def drop(self, key: Any) -> None:
        """Let go of what is held under `key`, if anything is."""
        self.objects.pop(key, None)
        self.rows.pop(key, None)


class IdentityMap(Mapping["tuple[type, Any]", "Any"]):
    """
    The objects that a session holds, with strong references: a read-only mapping from `(class, key)` to the object.

        session.identity_map[Item, 1]
        session.identity_map.get((Item, 1))     # or None; the database is not asked
        list(session.identity_map.values())

    With several databases the one that was used first wins where two hold the same class and key. The map belongs to its
    session and is emptied with each transaction (see the session's `expire_on_commit`).
    """

    __slots__ = ("_stores", "lone")

    def __init__(self) -> None:
        self._stores: Mapping[tuple[object, type], Store] = _NOTHING  # never changed, but bound anew
        self.lone: Mapping[type, dict[Any, Any]] = _NOTHING
        """Class → key → object, from the database that a class is got from when none is named: where `Session.get` looks first."""

    def store(self, database: object, cls: type) -> Store:
        """Return the store of a class in a database, made when it is first asked for."""
        found = self._stores.get((database, cls))
        if found is None:
            found = Store()
            self._stores = {**self._stores, (database, cls): found}
        return found

    def remember(self, cls: type, store: Store) -> None:
        """Let `lone` find the objects of a class."""
        self.lone = {**self.lone, cls: store.objects}

    def stores(self, cls: type) -> list[Store]:
        """Return the stores of a class, one for each database."""
        return [store for (_, held), store in list(self._stores.items()) if held is cls]

    def holds(self, obj: object) -> bool:
        """Tell whether this very object is held."""
        return any(held is obj for store in self.stores(type(obj)) for held in list(store.objects.values()))

    def clear(self) -> None:
        """Let go of every object."""
        if self._stores:  # bound anew, not emptied: an interrupt leaves either all or nothing
            self.lone = self._stores = _NOTHING

    def _merged(self) -> dict[tuple[type, Any], Any]:
        found: dict[tuple[type, Any], Any] = {}
        for (_, cls), store in list(self._stores.items()):
            for key, obj in list(store.objects.items()):
                found.setdefault((cls, key), obj)
        return found

    def __getitem__(self, key: tuple[type, Any]) -> Any:
        if isinstance(key, tuple) and len(key) == 2:
            for store in self.stores(key[0]):
                if key[1] in store.objects:
                    return store.objects[key[1]]
        raise KeyError(key)

    def __iter__(self) -> Iterator[tuple[type, Any]]:
        return iter(self._merged())

    def __len__(self) -> int:
        return len(self._merged())

    def __repr__(self) -> str:
        counts = (f"{len(store.objects)} {cls.__name__}" for (_, cls), store in self._stores.items())
        return f"<IdentityMap: {', '.join(counts) or 'empty'}>"
