"""The parts of ``gpu_check.py``: measurements on a GPU, one section per file.

``scale`` says how large everything is, ``work`` makes policies and rollouts of that size, ``flops``
and ``clock`` count and time. ``machine``, ``parity``, ``attention``, ``generation``, ``passes``,
``engine`` and ``server`` are the sections: generators of findings. ``process`` runs them one after
another, each in its own process, and ``report`` writes the findings to a file.
"""
