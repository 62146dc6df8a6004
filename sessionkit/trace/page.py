"""A recording as one HTML page that needs nothing else: lanes downward, a slider, explanations."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from .explain import MARKS, Words, on_one_line
from .moments import ENDS
from .text import SLOW, in_order

if TYPE_CHECKING:
    from .recording import Recording


def page(recording: Recording, title: str) -> str:
    """Return the page."""
    words, lanes = Words(recording.lanes, recording.events), recording.lanes
    rows = [
        {
            "at": round(one.at if one.kind == "waits" else one.at + one.seconds, 6), "lane": one.lane or 0, "kind": one.kind,
            "t": one.transaction, "mark": MARKS.get(one.kind, ""), "title": words.title(one), "why": words.explained(one),
            "about": one.about, "bad": bool(one.error) or one.kind in ("lost", "commit failed"), "slow": one.seconds >= SLOW,
            "text": on_one_line(one) if one.kind == "statement" else "",
        }
        for one in in_order(recording.events)
        if one.lane is not None
    ]  # fmt: skip
    data = {
        "lanes": [{"name": lane.name, "place": lane.place} for lane in lanes],
        "rows": rows,
        "ends": ENDS,
        "dropped": recording.dropped,
    }
    embedded = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    template = files("sessionkit.trace").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("{{title}}", escape(title)).replace("{{data}}", embedded)
