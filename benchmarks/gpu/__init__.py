"""The parts of ``gpu_check.py``: measurements on a GPU, one section per file.

``scale`` says how large everything is, ``work`` makes policies and rollouts of that size, ``flops``
and ``clock`` count and time, ``planned`` asks the plan. Sections are generators of findings:
``machine`` with ``products``, ``variant_table`` of ``variants``, ``generation``, ``engine`` (vLLM),
``trl_update``, ``deterministic`` and ``fit`` by the ``command_line``, ``parity``, ``attention`` and
``server``. ``process`` runs them one after another, each in its own process, and ``report`` writes
the findings to a file.
"""
