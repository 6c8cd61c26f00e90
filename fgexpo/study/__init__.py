"""Arms x seeds from one YAML: run side by side, scored and reported alike."""
