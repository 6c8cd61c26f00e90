"""Tokens become log-probs: the policy as a network, opened and adapted."""

from ..outside.quiet import hush

# Whoever trains from Python imports this, and is spared the same noise as the command line.
hush()
