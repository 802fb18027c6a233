"""How the systems look in pictures, axes and legends, and how a picture is saved."""

import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402 (the backend must be chosen first)
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from dld.files import atomic_write  # noqa: E402

# Okabe and Ito's palette, distinguishable with every common colour-vision deficiency; shapes differ as well.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Paul Tol's muted palette, for systems that have no colour of their own above.
FURTHER = ("#332288", "#882255", "#44AA99", "#999933", "#AA4499", "#661100", "#6699CC")
GREY = "#8A8A8A"
# In legends, the lines without a colour.
OTHERS = "others"
NAMES = {
    "static": "static (no dropping)",
    "dedicated": "dedicated, one for each depth",
    "ld": "layer dropping (LD)",
    "dld": "distilled (DLD)",
    "dld_plus": "DLD plus",
    "early_exit": "early exit",
    "interctc_sd": "InterCTC + stochastic depth",
    "self_kd": "self-distillation, sandwich",
    "dld_even": "DLD, evenly spaced gates",
}
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "dld",
}


def styles(systems: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return colour and marker of each system; the static networks are black and grey.

    A system looks the same on every page, whatever else is on it: those of NAMES have a colour of their own, the name
    of another chooses one of FURTHER, or the next one where two of a page would have the same.
    """
    static = {"static": {"color": "#000000", "marker": "*"}, "dedicated": {"color": "#777777", "marker": "*"}}
    known = [system for system in NAMES if system not in static]
    found = {
        system: {"color": colour, "marker": marker}
        for system, colour, marker in zip(known, COLOURS, MARKERS, strict=True)
    }
    free = [{"color": colour, "marker": marker} for marker in MARKERS for colour in FURTHER]
    for system in sorted(set(systems) - set(NAMES)):
        first = zlib.crc32(system.encode()) % len(FURTHER)
        turned = free[first:] + free[:first]
        found[system] = next((look for look in turned if look not in found.values()), free[first])
    return {**found, **static}


def name_of(system: str, variant: str = "", seeds: Sequence[int] = (1,)) -> str:
    """Return the name of a line in a legend; `seeds` are the numbers of seeds that its points have, sorted.

    Examples
    --------
    >>> name_of("dld", "even", [2]), name_of("ld", seeds=[1, 2]), name_of("mine")
    ('distilled (DLD), even, 2 seeds', 'layer dropping (LD), 1–2 seeds', 'mine')
    """
    number = f"{seeds[0]} seeds" if seeds[0] == seeds[-1] else f"{seeds[0]}–{seeds[-1]} seeds"
    return ", ".join(filter(None, (NAMES.get(system, system), variant, number if seeds[-1] > 1 else "")))


def percent_axis(axis: Axes, low: float, high: float) -> bool:
    """Make a linear axis from 0, or a logarithmic one where the values span more than a factor of ten; return which."""
    if low > 0 and high / low > 10:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        return True
    axis.set_ylim(0, 1.08 * high if high else 1)
    return False


def legend_of(figure: Figure, axes: Sequence[Axes]) -> None:
    """Write one legend for all panels: in the only panel where it has few lines, else below, as wide as the figure."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if len(axes) == 1 and len(entries) <= 5:
        axes[0].legend(loc="best")
        return
    # 2.6 inches hold the longest names.
    most = max(1, int(figure.get_figwidth() / 2.6))
    rows = -(-len(entries) // most)
    columns = -(-len(entries) // rows)
    entries = dict(sorted(entries.items(), key=lambda entry: entry[0] == OTHERS))
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "borderaxespad": 0.4}
    figure.legend(list(entries.values()), list(entries), **below, ncols=columns, fontsize=9.5, handlelength=1.8)


def save(figure: Figure, output: Path, name: str) -> str:
    """Write `name.png` and `name.svg`; return the first."""
    for suffix in ("png", "svg"):
        buffer = io.BytesIO()
        # No creation date, so that the same results have the same bytes.
        metadata = {"Date": None} if suffix == "svg" else {}
        figure.savefig(buffer, format=suffix, dpi=150, bbox_inches="tight", metadata=metadata)
        with atomic_write(output / f"{name}.{suffix}", "wb") as out:
            out.write(buffer.getvalue())
    plt.close(figure)
    return f"{name}.png"
