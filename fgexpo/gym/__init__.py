"""Reasoning-gym's data sets and scorers: see :mod:`fgexpo.isolated`.

``items`` makes questions and ``score`` grades answers, each in a worker process; ``maker`` and
``fgexpo.rewards.gym_scorer`` are their other sides. Nothing here imports torch.
"""
