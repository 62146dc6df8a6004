"""The pictures of docs/scale.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def draw(
    folder: Path, found: dict[tuple[str, int], Any], herds: dict[str, list[float]], begin: float, end: float
) -> None:
    """Draw how long requests take around an outage, and when clients come back, as SVGs."""
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "sessionkit", "font.size": 9, "svg.fonttype": "none"})
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(9, 3), layout="constrained")
    for (policy, size), served in found.items():
        if policy.endswith("=30"):
            done = [one for one in served if one.attempt][::25]
            axes.plot([one.came for one in done], [one.took for one in done], label=f"{size} connections", linewidth=1)
    axes.axvspan(begin, end, color="#c0392b", alpha=0.12, linewidth=0)
    axes.set(
        xlabel="a request comes (seconds); the server is gone in the red part",
        ylabel="it takes (seconds)",
        ylim=(0, None),
    )
    axes.legend()
    figure.savefig(folder / "outage.svg", metadata={"Date": None})
    pyplot.close(figure)
    figure, several = pyplot.subplots(1, 2, figsize=(9, 2.6), layout="constrained", sharey=True)
    for axes, (name, moments) in zip(several, herds.items(), strict=True):
        axes.hist(moments, bins=130, range=(0, 1.3), color="#2980b9")
        axes.set(title=f"jitter: {name}", xlabel="seconds after the loss", ylabel="attempts in 10 ms", yscale="symlog")
    figure.savefig(folder / "herd.svg", metadata={"Date": None})
    pyplot.close(figure)
