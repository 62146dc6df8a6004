"""Rows of other libraries' classes, and their values: attrs, pydantic, msgspec, pandas."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pandas
import pydantic
import pytest

from sessionkit import DataError

from .test_values import rows

if TYPE_CHECKING:
    from .conftest import Database


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


def test_pandas_own_nothing_is_refused(db: Database) -> None:
    """NaT is a datetime to Python, and no moment."""
    with pytest.raises(DataError, match="NaTType is no moment"):
        db.main.execute("select ?", (pandas.NaT,))
