"""Commands that are not Trainer methods."""
