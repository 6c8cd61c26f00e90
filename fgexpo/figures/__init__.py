"""Figures of runs and formulas: numbers in, a matplotlib Figure out; for notebooks and panels."""
