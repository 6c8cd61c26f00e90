"""The policy as a network: loading, adapters, log-probs."""
