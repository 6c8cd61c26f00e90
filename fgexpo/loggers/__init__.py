"""What is drawn beside scalars, in whichever logger a run has."""

from .panels import PanelWriter, Table, panel_writers

__all__ = ["PanelWriter", "Table", "panel_writers"]
