"""Numbers of a run that change while it trains: along which curve, and which numbers may."""

from .curve import CosineCurve, Curve, LinearCurve, PiecewiseCurve
from .settings import SETTINGS, Setting, check_schedule, get, put

__all__ = [
    "SETTINGS",
    "CosineCurve",
    "Curve",
    "LinearCurve",
    "PiecewiseCurve",
    "Setting",
    "check_schedule",
    "get",
    "put",
]
