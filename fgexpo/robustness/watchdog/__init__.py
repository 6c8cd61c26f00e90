"""Who is to blame when a run gets stuck."""
