"""Memory of one call over its allocations, stacked by call site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from lbench.plot.style import COLOURS, GRID, OTHER_COLOURS, RC
from lbench.profiling import allocations, folder

MOST_SITES = 8
MIB = 2**20
LONGEST = 96


def draw(profile: Path) -> Path:
    """Draws the figure of a kept profile into its folder. ValueError where nothing was recorded."""
    changes = folder.read_json(profile / folder.MEMORY)
    peak = allocations.peak(changes)
    if not peak.sites:
        raise ValueError("no allocation was recorded")
    sites = [site.where for site in peak.sites[:MOST_SITES]]
    steps = allocations.alive_by_site(changes, sites)
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **RC}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7.0, 2.6 + 0.17 * (len(sites) + 1)))
        _draw(figure, steps, sites, peak.bytes)
        figure.savefig(profile / folder.FIGURE, metadata={"Software": None})
    return profile / folder.FIGURE


def _draw(figure: Figure, steps: list[list[int]], sites: list[str], peak_bytes: int) -> None:
    height = figure.get_size_inches()[1]
    ax = figure.add_axes((0.09, 1 - 2.3 / height, 0.88, 1.95 / height))
    colours = (*(*COLOURS.values(), *OTHER_COLOURS)[: len(sites)], GRID)
    layers = [[step[number] / MIB for step in steps] for number in range(len(sites) + 1)]
    names = [*sites, "all other call sites"]
    ax.stackplot(range(len(steps)), *layers, colors=colours, labels=names, step="post", linewidth=0)
    ax.axhline(peak_bytes / MIB, color="black", linewidth=0.6, linestyle=(0, (1, 2)))
    ax.set_xlim(0, max(len(steps) - 1, 1))
    ax.set_ylim(0, peak_bytes / MIB * 1.08)
    ax.set_ylabel("MiB beyond the inputs")
    ax.set_xlabel("allocations and releases of one call, in their order")
    ax.set_title(f"Memory of one call: peak {peak_bytes / MIB:,.1f} MiB", loc="left", fontsize=8)
    shown = [name if len(name) <= LONGEST else f"\u2026{name[-LONGEST:]}" for name in names]
    handles, _ = ax.get_legend_handles_labels()
    figure.legend(handles, shown, loc="lower left", bbox_to_anchor=(0.08, 0.0), frameon=False, borderpad=0.2)
