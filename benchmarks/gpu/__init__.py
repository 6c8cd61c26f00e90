"""The parts of ``gpu_check.py``: what is measured on a GPU, one section a file.

``scale`` says how large everything is, ``work`` makes policies and rollouts of that size, ``flops``
and ``clock`` count and time. ``machine``, ``parity``, ``attention``, ``generation``, ``passes``,
``engine`` and ``server`` are the sections: generators of findings, which ``process`` runs one after
the other, each in a process of its own, and ``report`` writes down.
"""
