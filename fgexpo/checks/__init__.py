"""Checks of settings, made before any weight is loaded."""
