"""Figures of runs and formulas, for notebooks and panels: numbers in, a matplotlib Figure out."""
