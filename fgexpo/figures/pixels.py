"""Figures as pixels and as small files."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..files import whole_file


def to_pixels(figure: Figure, dpi: int = 100) -> np.ndarray:
    """Render without a display: uint8 [height, width, 3]."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_png(figure: Figure, path: Path, dpi: int) -> None:
    """Write a picture, whole or not at all, with 256 colours, which halves a file with bands."""
    picture = Image.fromarray(to_pixels(figure, dpi)).quantize(256, dither=Image.Dither.NONE)
    with whole_file(path) as partial:
        picture.save(partial, format="png", optimize=True)
