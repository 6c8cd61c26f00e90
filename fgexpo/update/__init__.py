"""A loss becomes new weights."""
