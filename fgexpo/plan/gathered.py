"""Bytes of what FSDP2 has whole at once. An upper estimate, from how FSDP2 goes about it.

Decoder layers are groups of their own; embedding, last norm and head are the root's, whole during
all of a forward and a backward pass. A group is gathered in a flat buffer and copied out of it, and
one flat buffer is kept until the next group's; gradients stay whole, in the compute dtype, until
their group is reduced, in a flat fp32 buffer that is kept likewise.
"""

from math import prod

from .adapters import adapter_sizes
from .job import Job
from .shape import Shape, elements
from .state import FULL


def gathered_to_decode(job: Job, shape: Shape) -> int:
    """Bytes while the policy itself decodes: all weights, and the flat buffer of the last group.

    Other engines take one weight after the other; a vLLM that sleeps, before its cache is awake.
    """
    if job.strategy != "fsdp2" or (job.vllm and job.engine.sleep):
        return 0
    if job.engine.kind != "Native":
        return max(map(prod, shape.sizes)) * job.dtype.itemsize
    largest = max(shape.largest_layer, elements(shape.root))
    return (shape.count + largest) * job.compute.itemsize


def gathered_to_run(job: Job, shape: Shape, activations: int, backward: bool) -> int:
    """Bytes in scoring or updating.

    The embedding's gradient and the reduction of the root's come last, when no activation is left.

    Args:
        job: the settings.
        shape: of the model.
        activations: bytes at the peak of the layers' own work.
        backward: an update, else scoring.
    """
    if job.strategy != "fsdp2":
        return 0
    layer, root, width = shape.largest_layer, elements(shape.root), job.compute.itemsize
    first = 2 * root * width  # before any layer
    middle = (root + 2 * 2 * layer) * width
    if not backward:
        return max(middle, first - activations)
    if job.adapters is None:
        head = elements((shape.head,))
        middle += (head + layer) * width + 2 * layer * FULL
        last = root * (2 * width + FULL) + layer * FULL
        return max(middle, last - activations)
    trained = elements(adapter_sizes(job.config, job.adapters)) // len(shape.layers)
    return max(middle + trained * (width + 2 * FULL), first - activations)
