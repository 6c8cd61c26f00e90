"""Keeps a run alive, or ends it with one clear sentence."""
