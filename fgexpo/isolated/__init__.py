"""Work that may hang, crash or be hostile: in processes of its own, with a deadline."""
