"""Figures of runs and of formulas: numbers in, a matplotlib Figure out, for notebooks and panels."""
