"""Tokens become log-probs: the policy as a network, opened and adapted."""
