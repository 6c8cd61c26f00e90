"""What a run will need, before anything is spent: memory, time, and what to change.

``job`` reads the settings, ``shape`` the parameters. ``state`` and ``activations`` count bytes,
``engine`` those of rollouts; ``memory`` puts them together by phase, ``timing`` estimates seconds,
``advice`` plans again with other settings, ``tables`` prints. No weight is ever made: parameters
live on PyTorch's meta device, and activations are those of the real model run on fake tensors.
"""
