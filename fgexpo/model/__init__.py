"""The policy as a network: opened, adapted, and asked for log-probs."""
