"""What a run will need, before anything is spent: memory, time, and what to change.

``from_config`` reads the settings into a ``job``, ``shape`` has the parameters. ``state`` and
``activations`` count bytes, ``generation`` those of rollouts; ``memory`` adds them up by phase,
``timing`` estimates seconds, ``advice`` plans again with other settings, ``tables`` prints. No
weight is ever made: parameters live on PyTorch's meta device, and activations are those of the real
model run on fake tensors.
"""
