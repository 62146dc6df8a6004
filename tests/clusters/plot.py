"""The transfers in each second of a run on a cluster, as a picture for the docs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

COLOURS = {
    "kill": "#c0392b",
    "cut": "#8e44ad",
    "switchover": "#2980b9",
    "stop": "#2980b9",
    "restart": "#2980b9",
    "crash": "#e67e22",
}


def draw(found: dict[str, Any], folder: Path) -> None:
    """Draw it into `folder` as an SVG of the case's name."""
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "sessionkit", "font.size": 9, "svg.fonttype": "none"})
    figure, axes = pyplot.subplots(figsize=(9, 3), layout="constrained")
    rates = found["rates"]
    axes.fill_between(range(len(rates)), rates, step="post", color="#16a085", alpha=0.6, linewidth=0)
    shown: set[str] = set()
    for at, what in found["events"]:
        label = None if what in shown else what
        axes.axvline(at, color=COLOURS[what], linewidth=1, label=label)
        shown.add(what)
    axes.set(xlabel="seconds", ylabel="transfers in a second", xlim=(0, len(rates)), ylim=(0, None))
    axes.legend(loc="upper right", ncols=len(shown))
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{found['case'].lower()}.svg", metadata={"Date": None})
    pyplot.close(figure)
