"""Find the process that stalled the run."""
