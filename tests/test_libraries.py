"""Rows of other libraries' classes, and their values: attrs, pydantic, msgspec, pandas."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pandas
import pydantic
import pytest

from sessionkit import ArgumentError, DataError

from .test_values import rows

if TYPE_CHECKING:
    from .conftest import Database


@dataclass
class Framed:
    id: int
    name: str | None
    price: float
    n: int | None
    day: datetime | None


def test_what_a_row_becomes_with_other_libraries(db: Database) -> None:
    """An attrs class, a pydantic model, a msgspec struct."""
    attrs_class = attrs.make_class("Attrs", {"name": attrs.field(type=str), "_price": attrs.field(type=Decimal)})
    model = pydantic.create_model("Model", name=str, price=Decimal)
    struct = msgspec.defstruct("Struct", [("name", str), ("price", Decimal)])
    price = Decimal("12.10")
    with rows(db).begin() as session:

        def made(target: Any, columns: str = "name, price") -> Any:
            return session.query(target, f"select {columns} from shop").one()

        assert made(attrs_class, "price as _price, name") == attrs_class("x", price)
        assert made(model) == model(name="x", price=price)
        assert made(struct) == struct("x", price)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_frames_out_and_in(db: Database, kind: str) -> None:
    """A result as a table, and a table into a database; what is missing is NULL and comes back as missing."""
    with db.main.begin() as session:
        session.executemany("insert into item (name, price) values (?, ?)", [("a", 1.5), (None, 2.5)])
        frame = session.execute("select name, price from item order by id").frame(kind)
        names, prices = (
            {"pandas": lambda c: c.tolist(), "polars": lambda c: c.to_list(), "arrow": lambda c: c.to_pylist()}[kind](
                frame[c]
            )
            for c in ("name", "price")
        )
        assert [None if name != name else name for name in names] == ["a", None]
        assert prices == [1.5, 2.5]
        session.execute("delete from item")
        assert session.copy_in("item", frame) == 2
        assert session.execute("select name, price from item order by id").tuples() == [("a", 1.5), (None, 2.5)]
        empty = session.execute("select name, price from item where 1 = 0").frame(kind)
        assert session.copy_in("item", empty) == 0
        with pytest.raises(ArgumentError, match="named twice"):
            session.execute("select 1 as a, 2 as a").frame(kind)


def test_frames_with_whole_numbers_dates_and_nothing(db: Database) -> None:
    """numpy's numbers, timestamps and NaN go in as Python's."""
    frame = pandas.DataFrame(
        {"id": [1, 2], "name": ["x", None], "price": [1.0, 2.0], "n": pandas.array([7, None], dtype="Int64"),
         "day": pandas.to_datetime(["2026-01-02 03:04:05", None])}
    )  # fmt: skip
    db.main.execute("drop table if exists framed")
    db.main.execute(
        f"create table framed (id int, name varchar(9), price {'real' if db.kind == 'sqlite' else 'double precision'}, n int, day {'text' if db.kind == 'sqlite' else 'timestamp null'})"
    )
    with db.main.begin() as session:
        assert session.copy_in("framed", frame) == 2
        found = session.query(Framed, "select * from framed order by id").all()
        assert found == [Framed(1, "x", 1.0, 7, datetime(2026, 1, 2, 3, 4, 5)), Framed(2, None, 2.0, None, None)]


def test_a_frame_of_another_kind(sqlite: Database) -> None:
    """Is refused by name."""
    with pytest.raises(ArgumentError, match="not 'excel'"):
        sqlite.main.execute("select 1 as a").frame("excel")


def test_pandas_own_nothing_is_refused(db: Database) -> None:
    """NaT is a datetime to Python, and no moment."""
    with pytest.raises(DataError, match="NaTType is no moment"):
        db.main.execute("select ?", (pandas.NaT,))
