"""Bytes of what FSDP2 holds unsharded at once: an upper estimate from the way FSDP2 works.

Each decoder layer is a group; embedding, last norm and head are the root's, unsharded during all of
a forward and a backward pass. A group is gathered in a flat buffer and copied out of it; one flat
buffer is kept until the next group's. Gradients stay unsharded, in the compute dtype, until their
group is reduced, in a flat fp32 buffer that is kept likewise. One process
keeps what it has gathered, which is a copy in the compute dtype, until the backward pass.
"""

from math import prod

from ..parallel.buckets import BUCKET_BYTES
from .adapters import adapter_sizes
from .generation import engine_dtype
from .job import Job
from .shape import Shape, elements
from .state import FULL


def gathered_to_decode(job: Job, shape: Shape) -> int:
    """Bytes while the policy itself decodes: all weights, and the flat buffer of the last group.

    Other engines load weights bucket by bucket, in their own dtype; a sleeping vLLM does so before
    its cache wakes.
    """
    if job.strategy != "fsdp2" or (job.vllm and job.engine.sleep):
        return 0
    if job.engine.kind != "Native":
        largest = max(map(prod, shape.sizes)) * engine_dtype(job).itemsize
        return 2 * max(largest, BUCKET_BYTES["cuda"])  # as it came, and put together
    largest = max(shape.largest_layer, elements(shape.root))
    return (shape.count + largest) * job.compute.itemsize


def gathered_to_run(job: Job, shape: Shape, activations: int, backward: bool) -> int:
    """Bytes in scoring or updating.

    The embedding's gradient and the root's reduction come last, when no activation is left.

    Args:
        job: the settings.
        shape: of the model.
        activations: bytes at the peak of the layers' own work.
        backward: true for an update, false for scoring.
    """
    if job.strategy != "fsdp2":
        return 0
    layer, root, width = shape.largest_layer, elements(shape.root), job.compute.itemsize
    first = 2 * root * width  # before any layer
    alone = job.processes == 1
    middle = (shape.count + 2 * layer if alone else root + 2 * 2 * layer) * width
    if not backward:
        return max(middle, first - activations)
    if job.adapters is None:
        head = elements((shape.head,))
        middle += (head + layer) * width + 2 * layer * FULL
        last = root * (2 * width + FULL) + layer * FULL
        return max(middle, last - activations)
    trained = elements(adapter_sizes(job.config, job.adapters)) // len(shape.layers)
    return max(middle + trained * (width + 2 * FULL), first - activations)
