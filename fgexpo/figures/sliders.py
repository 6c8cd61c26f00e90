"""Sliders under a figure if ipywidgets is installed, else only the figure."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

from matplotlib.figure import Figure


class Span(NamedTuple):
    """A slider's values, and its start."""

    low: float
    high: float
    step: float
    start: float


def explore(draw: Callable[..., Figure], **spans: Span) -> None:
    """Display ``draw(**values)`` at the start values, and again whenever a slider is moved.

    The figure is an output of the cell, not of a widget, so it also shows without widgets.
    """
    from IPython.display import display

    values = {name: span.start for name, span in spans.items()}
    shown: Any = display(draw(**values), display_id=True)
    if find_spec("ipywidgets") is None:
        print("no sliders without ipywidgets: install the extra fgexpo[notebooks]")
        return
    import ipywidgets

    def redraw(change: dict[str, object]) -> None:
        shown.update(draw(**{name: slider.value for name, slider in sliders.items()}))

    sliders = {
        name: ipywidgets.FloatSlider(
            value=span.start, min=span.low, max=span.high, step=span.step, description=name
        )
        for name, span in spans.items()
    }
    for slider in sliders.values():
        slider.observe(redraw, "value")
    display(ipywidgets.VBox(list(sliders.values())))
