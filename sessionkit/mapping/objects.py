"""The statements on entities: load, merge, write. What they hold is in the identity map."""

from __future__ import annotations

from itertools import groupby, starmap

from ..errors import ArgumentError, InvalidRequestError, NoResultFound, StaleObjectError
from .entity import Entity, declared, entity_of, is_changed
from .targets import entity_key, entity_rows, maker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .._typing import Source
    from .identity import IdentityMap, Store
    from .results import Result

    Run = Callable[..., Result[Any]]


class Objects:
    """
    A session's entities: one object per row, and what is written of them.

    Made for one call: `identity` outlives it. `run(source, sql, parameters, lock=False)` executes in the session's
    transaction; `on_rollback(fn)` notes what puts an object back when the level that is open now is rolled back.
    """

    __slots__ = ("_on_rollback", "_run", "identity")

    def __init__(self, identity: IdentityMap, run: Run, on_rollback: Callable[[Callable[[], object]], object]) -> None:
        self.identity = identity
        self._run = run
        self._on_rollback = on_rollback

    # -- load

    def get(self, source: Source, cls: type, key: Any, for_update: bool) -> Any:
        """Return the object with this key, from the map or else from the database; None when there is no such row."""
        entity = entity_of(cls)
        store = self.identity.store(source, cls)
        if key is None:
            return None
        key = entity_key(entity, key, source.values)
        try:
            held = store.objects.get(key)
        except TypeError:
            raise ArgumentError(f"a key of {cls.__name__} is hashable, got {type(key).__name__}") from None
        if held is not None and not for_update:
            return held
        row = self._select(source, entity, key, for_update)
        if row is None:
            store.drop(key)
            return None
        return self._merge(entity, store, row)

    def _select(self, source: Source, entity: Entity, key: Any, lock: bool = False) -> tuple[Any, ...] | None:
        driver = source.driver
        sql = entity.select(driver.identifier_quote, driver.for_update if lock else "")
        rows = self._rows(source, entity, self._run(source, sql, entity.key_values(key), lock))
        return rows[0] if rows else None

    def _rows(self, source: Source, entity: Entity, result: Result[Any]) -> Sequence[tuple[Any, ...]]:
        """Return a result's rows in the order of an entity's fields, each value as its field wants it."""
        convert = entity_rows(entity, result.columns, result.types(source.driver.column_types), source.values)
        return result.raw() if convert is None else list(map(convert, result.raw()))

    def query(self, source: Source, target: Any, result: Result[Any]) -> Result[Any]:
        """Return a result whose rows become `target`: an entity through the map, anything else by column name."""
        entity = declared(target)
        if entity is None:
            types = result.types(source.driver.column_types)
            return result.becoming(maker(target, result.columns, types, source.values))
        rows = self._rows(source, entity, result)
        store = self.identity.store(source, entity.cls)
        return result.becoming(entity.make, self._merge_all(entity, store, rows))

    def _merge_all(self, entity: Entity, store: Store, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not store.objects and entity.make_positional:
            objects = list(starmap(entity.cls, rows))
            if store.fill(list(map(entity.key_row, rows)), objects, rows):
                return objects  # nothing was held and each row came once: no merging to do
        return [self._merge(entity, store, row) for row in rows]

    def _merge(self, entity: Entity, store: Store, row: tuple[Any, ...]) -> Any:
        """Return the object for a row: the one held, refreshed but for what the program has changed, or a new one."""
        key = entity.key_row(row)
        held = store.objects.get(key)
        if held is None:
            held = entity.make(row)
        else:
            for name, old, new in zip(entity.fields, store.rows[key], row, strict=True):
                if new is not old and not is_changed(old, getattr(held, name)):
                    entity.set(held, name, new)
        store.put(key, held, row)
        return held

    def refresh(self, source: Source, obj: Any) -> None:
        """Overwrite every attribute with what the database holds now."""
        entity = entity_of(type(obj))
        store = self.identity.store(source, entity.cls)
        key = self._key(source, entity, store, obj, "refresh")
        row = self._select(source, entity, key)
        if row is None:
            store.drop(key)
            raise NoResultFound(f"the row of this {entity.cls.__name__} is no longer in {entity.table}")
        for name, value in zip(entity.fields, row, strict=True):
            entity.set(obj, name, value)
        store.put(entity.key_row(row), obj, row)

    # -- write

    def insert(self, source: Source, obj: Any) -> Any:
        """Insert an object as a new row, fill in a key that the database generates, and hold it."""
        entity = entity_of(type(obj))
        store = self.identity.store(source, entity.cls)
        first = entity.version if entity.version and getattr(obj, entity.version) is None else None
        blank = _blank(entity, obj)
        names = tuple(name for name in entity.fields if name not in blank)
        driver = source.driver
        returning = bool(blank) and bool(driver.returning)
        sql = entity.insert(driver.identifier_quote, names, returning)
        parameters = entity.field_parameters(obj, names)
        if first is not None:
            parameters[f"v{entity.version_at}"] = 1
        result = self._run(source, sql, parameters)
        if first is not None:
            self._assign(entity, obj, first, 1)
        if blank:
            self._fill(source, entity, obj, blank, self._generated(entity, result, returning, len(blank)))
        _hold(source, entity, store, obj)
        return obj

    def insert_many(
        self, source: Source, objects: list[Any], send: Callable[[Source, str, list[Any], bool], list[Any]]
    ) -> None:
        """Insert objects that are `alike`, in one go; `send(source, sql, rows, with_keys)` returns the keys that were generated."""
        entity = entity_of(type(objects[0]))
        store = self.identity.store(source, entity.cls)
        driver = source.driver
        blank = _blank(entity, objects[0])
        names = tuple(name for name in entity.fields if name not in blank)
        version = entity.version
        for obj in objects:
            if version and getattr(obj, version) is None:
                self._assign(entity, obj, version, 1)
        returning = bool(blank) and bool(driver.returning)
        sql = entity.insert(driver.identifier_quote, names, returning, by_position=True)
        keys = send(source, sql, [tuple([getattr(obj, name) for name in names]) for obj in objects], bool(blank))
        for obj, key in zip(objects, keys, strict=False):
            if len(key) < len(blank) or key[0] is None:
                raise self._no_key(entity)
            self._fill(source, entity, obj, blank, key[: len(blank)])
        for obj in objects:
            _hold(source, entity, store, obj)

    def upsert(self, source: Source, obj: Any, on: Sequence[str] | None) -> Any:
        """Insert an object, or update the row that has the same values in the fields `on`; fill in its key, and hold it."""
        entity = entity_of(type(obj))
        if entity.version:
            raise ArgumentError(
                f"{entity.cls.__name__} has a version ({entity.version}), which an upsert would pass over; use update()"
            )
        on = tuple(on or entity.key)
        unknown = [name for name in on if name not in entity.fields]
        if unknown:
            raise ArgumentError(f"upsert on {', '.join(unknown)}: {entity.cls.__name__} has {', '.join(entity.fields)}")
        store = self.identity.store(source, entity.cls)
        driver = source.driver
        blank = _blank(entity, obj)
        names = tuple(name for name in entity.fields if name not in blank)
        sql = entity.upsert(driver.identifier_quote, names, on, driver.upserts == "ON CONFLICT", bool(blank))
        result = self._run(source, sql, entity.field_parameters(obj, names))
        if blank:
            key = self._generated(entity, result, bool(driver.returning), len(blank))
            self._fill(source, entity, obj, blank, key)
        elif set(on) != set(entity.key):  # the row that is there may have another key
            found = self._run(
                source, entity.key_by(driver.identifier_quote, on), entity.field_parameters(obj, on)
            ).raw()
            if found:
                self._fill(source, entity, obj, entity.key, found[0])
        _hold(source, entity, store, obj)
        return obj

    def _fill(self, source: Source, entity: Entity, obj: Any, blank: Sequence[str], found: Sequence[Any]) -> None:
        """Fill in the part of a key that the database generated, as its fields want it."""
        for name, value in zip(blank, found, strict=True):
            self._assign(entity, obj, name, value)
        key = entity_key(entity, entity.key_of(obj), source.values)
        for name, value in zip(entity.key, entity.key_values(key), strict=True):
            if name in blank:
                entity.set(obj, name, value)

    def _generated(self, entity: Entity, result: Result[Any], returning: bool, count: int) -> tuple[Any, ...]:
        if returning:
            row = result.tuples()[0]
            return row if len(entity.key) == count else row[:count]
        if count == 1 and result.lastrowid:
            return (result.lastrowid,)
        raise self._no_key(entity)

    def _no_key(self, entity: Entity) -> InvalidRequestError:
        return InvalidRequestError(
            f"the row was inserted into {entity.table}, but the database did not return its generated key; "
            f"set {', '.join(entity.key)} before inserting"
        )

    def _assign(self, entity: Entity, obj: Any, name: str, value: Any) -> None:
        """Set an attribute, to be taken back if this level is rolled back."""
        old = getattr(obj, name)
        entity.set(obj, name, value)
        self._on_rollback(lambda: entity.set(obj, name, old))

    def update(self, source: Source, obj: Any) -> None:
        """Write what has changed since the object was read; all of it, by its key, when it is not held."""
        entity = entity_of(type(obj))
        store = self.identity.store(source, entity.cls)
        key = self._key(source, entity, store, obj, "update")
        row = store.rows.get(key) if store.objects.get(key) is obj else None
        if row is None:
            changed = [name for name in entity.fields if name not in entity.key]
        else:
            changed = entity.changed(obj, row)
        if entity.version and changed:
            changed = [name for name in changed if name != entity.version] + [entity.version]
        if not changed:
            return
        self._write(source, entity, obj, key, changed, row)
        if entity.version:
            self._assign(entity, obj, entity.version, self._version(entity, obj, row) + 1)
        store.drop(key)
        _hold(source, entity, store, obj)

    def _write(self, source: Source, entity: Entity, obj: Any, key: Any, changed: list[str], row: Any) -> None:
        parameters = {**entity.key_parameters(key), **entity.field_parameters(obj, changed)}
        if entity.version:
            version = parameters["version"] = self._version(entity, obj, row)
            parameters[f"v{entity.version_at}"] = version + 1
        sql = entity.update(source.driver.identifier_quote, changed)
        if self._run(source, sql, parameters).rowcount == 0:
            self._check_stale(source, entity, key, "update")

    def delete(self, source: Source, obj: Any) -> None:
        """Delete an object's row, and let go of the object."""
        entity = entity_of(type(obj))
        store = self.identity.store(source, entity.cls)
        key = self._key(source, entity, store, obj, "delete")
        row = store.rows.get(key) if store.objects.get(key) is obj else None
        parameters = entity.key_parameters(key)
        if entity.version:
            parameters["version"] = self._version(entity, obj, row)
        if self._run(source, entity.delete(source.driver.identifier_quote), parameters).rowcount == 0:
            raise _stale(entity, "delete")
        store.drop(key)

    def _check_stale(self, source: Source, entity: Entity, key: Any, verb: str) -> None:
        """Nothing matched; without a version, a row that has these values already may count as none changed."""
        if entity.version or self._select(source, entity, key) is None:
            raise _stale(entity, verb)

    def _version(self, entity: Entity, obj: Any, row: tuple[Any, ...] | None) -> int:
        found = row[entity.version_at] if row is not None else getattr(obj, str(entity.version))
        if not isinstance(found, int):
            raise ArgumentError(
                f"the version of {entity.cls.__name__} ({entity.version}) is an int, got {type(found).__name__}"
            )
        return found

    def _key(self, source: Source, entity: Entity, store: Store, obj: Any, verb: str) -> Any:
        """Return the key of an object's row: the one it is held under, else the one its attributes have."""
        key = entity_key(entity, entity.key_of(obj), source.values)
        try:
            held = store.key_of(obj, key)
        except TypeError:
            raise ArgumentError(f"a key of {entity.cls.__name__} is hashable") from None
        if held is not None:
            return held
        if key is None or (isinstance(key, tuple) and None in key):
            raise ArgumentError(
                f"cannot {verb} a {entity.cls.__name__} without a key ({', '.join(entity.key)} is None); insert it first"
            )
        if key in store.objects:
            raise InvalidRequestError(
                f"cannot {verb} this {entity.cls.__name__}: the session holds another object for the same row; "
                "use that one (get returns it), or expunge it"
            )
        return key

    # -- letting go

    def expunge(self, obj: Any) -> None:
        """Let go of one object; one that is not held raises InvalidRequestError."""
        entity = entity_of(type(obj))
        for store in self.identity.stores(entity.cls):
            key = store.key_of(obj, entity.key_of(obj))
            if key is not None:
                store.drop(key)
                return
        raise InvalidRequestError(f"this {entity.cls.__name__} is not held by the session")


def _blank(entity: Entity, obj: Any) -> tuple[str, ...]:
    """Return the fields of an object's key that the database is to fill in."""
    return tuple([name for name in entity.key if getattr(obj, name) is None])


def alike(objects: Sequence[Any]) -> list[list[Any]]:
    """Return objects in groups that one statement can insert: neighbours of one class, with the same part of the key blank."""
    return [list(group) for _, group in groupby(objects, lambda obj: (type(obj), _blank(entity_of(type(obj)), obj)))]


def _hold(source: Source, entity: Entity, store: Store, obj: Any) -> None:
    """Hold an object under its key, with the row that it stands for now."""
    store.put(entity_key(entity, entity.key_of(obj), source.values), obj, entity.row_of(obj))


def _stale(entity: Entity, verb: str) -> StaleObjectError:
    why = "somebody has changed or deleted it since it was read" if entity.version else "it is not there (any more)"
    return StaleObjectError(f"cannot {verb} this {entity.cls.__name__} in {entity.table}: {why}; read it again")
