"""Charts: inline SVG drawn by matplotlib without its global state, coloured by the variables of the page."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sarcodec import errors
from sarcodec.text import numerals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

SIZE = (4.3, 3.2)
"""Width and height of a chart in inches; the page scales it."""

LINES = 13
"""Colours for lines of a page that sets ``--line-0`` to ``--line-12``."""

# Charts are drawn in these colours, each then replaced by the page's variable of its name.
INK, SOFT, RULE, ORIGINAL, RESTORED, ERROR = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112"
LINE = tuple(f"#{index + 1:02x}f00{index:x}" for index in range(LINES))
VARIABLES = {
    **{INK: "ink", SOFT: "soft", RULE: "rule", ORIGINAL: "original", RESTORED: "restored", ERROR: "error"},
    **{colour: f"line-{index}" for index, colour in enumerate(LINE)},
}
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
}


def require_matplotlib() -> None:
    """Raise MissingExtra when matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as cause:
        raise errors.MissingExtra("matplotlib", "report") from cause


def svg(draw: Callable[[Axes], None], label: str, size: tuple[float, float] = SIZE) -> str:
    """Draw one chart and make its SVG part of a page: no metadata, no ids that clash, colours by variable."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": label}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    root, body = text[text.index("<svg") :].split(">", 1)
    box = re.search(r'viewBox="[\d. ]+"', root)
    body = re.sub(r"<style.*?</style>|<metadata.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' id="[A-Za-z0-9]+_\d+"', "", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return f'<svg class="chart" role="img" aria-label="{html.escape(label)}" {box.group() if box else ""}>{body}'


def plain_numbers(axis: Axis) -> None:
    """Label the ticks of an axis with plain numbers, no powers of ten, and those between them with nothing."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: numerals.significant(value)))
    axis.set_minor_formatter(NullFormatter())
