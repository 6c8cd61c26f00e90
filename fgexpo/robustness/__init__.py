"""What keeps a run alive, or ends it with a sentence."""
