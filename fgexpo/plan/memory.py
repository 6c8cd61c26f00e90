"""Memory per GPU by kind and by phase, and the host's."""

from dataclasses import dataclass

from .activations import Work, count
from .gathered import gathered_to_decode, gathered_to_run
from .generation import PROCESS_CPU, EngineBytes, engine_bytes
from .gpus import GIB
from .job import Job
from .rows import largest
from .shape import Shape, shape_of
from .state import State, state_of

# Assumptions, printed with every plan.
RESERVE = 3 * GIB  # CUDA context, NCCL, cuBLAS workspaces, holes between the allocator's blocks
PROCESS_HOST = 6 * GIB  # Python, PyTorch's and vLLM's libraries, data loaders, per process

Kinds = dict[str, int]


@dataclass(frozen=True)
class Memory:
    """What a job needs.

    Attributes:
        phases: bytes per GPU by phase and kind.
        capacity: bytes of the GPU.
        reserve: bytes of these that tensors cannot use.
        host: bytes of a node's host memory by kind; empty without a GPU: all memory is host's.
        engine: the rollout engine's memory.
        state: the memory that stays from step to step.
    """

    phases: dict[str, Kinds]
    capacity: int
    reserve: int
    host: Kinds
    engine: EngineBytes
    state: State

    @property
    def totals(self) -> dict[str, int]:
        """Bytes by phase."""
        return {phase: sum(kinds.values()) for phase, kinds in self.phases.items()}

    @property
    def usable(self) -> int:
        """Bytes for tensors."""
        return self.capacity - self.reserve

    @property
    def spare(self) -> int:
        """Bytes left in the worst phase; negative if it does not fit."""
        return self.usable - max(self.totals.values())

    @property
    def shortage(self) -> int:
        """Missing bytes, over all phases and in vLLM's share; advice reduces this number."""
        lacking = (max(0, total - self.usable) for total in self.totals.values())
        return sum(lacking) + self.engine.missing

    @property
    def fits(self) -> bool:
        """Whether nothing is missing."""
        return self.shortage == 0


def plan_memory(job: Job, capacity: int) -> Memory:
    """Count every kind in every phase, in the steady state: from the second step on.

    Not counted: the rollouts' own tensors, tens of MB.
    """
    shape = shape_of(job.config)
    state = state_of(job, shape)
    engine = engine_bytes(job, shape, capacity)
    stays = {
        "policy weights": state.weights,
        "gradients": state.gradients,
        "optimizer state": state.optimizer,
        "DDP buckets": state.buckets,
        "reference": 0 if job.offload else state.reference,
    }
    phases = {
        "generate": {
            **stays,
            "engine: weights": engine.weights,
            "engine: KV cache": engine.cache,
            "engine: workspace": engine.rest,
            "gathered weights": gathered_to_decode(job, shape),
        },
        "score": {**stays, **_passes(job, engine, "score")},
        "update": {**stays, **_passes(job, engine, "update")},
        "step": {
            **stays,
            "engine: asleep": engine.asleep,
            "optimizer temporaries": state.step,
        },
    }
    if job.offload and job.strategy != "fsdp2":  # which moves one layer at a time
        phases["score"]["reference"] = state.reference
    if job.adapters is not None and state.reference:
        phases["score"]["adapters set aside"] = state.reference
    host = {} if job.cpu else host_memory(job, shape, state)
    reserve = PROCESS_CPU if job.cpu else RESERVE
    return Memory(phases, capacity, reserve, host, engine, state)


def _passes(job: Job, engine: EngineBytes, phase: str) -> Kinds:
    wanted, shape = work_of(job, phase), shape_of(job.config)
    work = count(job.config, wanted)
    kinds = {
        "engine: asleep": engine.asleep,
        "gathered weights": gathered_to_run(job, shape, work.peak, phase == "update"),
        "activations": work.kept,
        "LM head, transients": work.peak - work.kept,
    }
    if wanted.first:  # at the peak some gradients are there, and some activations no longer
        made = min(work.peak - work.kept, state_of(job, shape).gradients)
        kinds |= {"gradients": made, "LM head, transients": work.peak - work.kept - made}
    return kinds


def work_of(job: Job, phase: str) -> Work:
    """The largest micro-batch of scoring or updating."""
    rows, update = largest(job), phase == "update"
    return Work(
        tokens=rows.tokens,
        longest=job.longest,
        shared=rows.shared,
        weights=job.seen,
        autocast=job.autocast,
        backward=update,
        first=update and makes_gradients(job),
        entropy=True,  # the first update of a step computes it too
        checkpointing=job.checkpointing and update,
        adapters=job.adapters,
        device="cpu" if job.cpu else "cuda",
    )


def makes_gradients(job: Job) -> bool:
    """Whether an update's only backward pass makes its gradients, as earlier ones are freed.

    FSDP2's, in shards, are counted as if they were there before. DDP's buckets are, where they are
    the gradients.
    """
    stay = job.strategy == "fsdp2" or (job.strategy == "ddp" and job.bucket_view)
    return job.one_pass and not stay


def host_memory(job: Job, shape: Shape, state: State) -> Kinds:
    """Bytes of the first node's host memory by kind; the peak is at most their sum.

    Every process loads the policy, and a reference if there is one, into its own host memory before
    they move to the GPU; FSDP2 takes the first before the second is loaded. FSDP2 also gathers a
    checkpoint in the first process's host memory, or every process keeps a copy of its own part of
    one, while DDP writes from the GPU.
    """
    processes, sharded = job.processes // job.nodes, job.strategy == "fsdp2"
    whole = shape.count * job.dtype.itemsize
    copies = 1 + (job.reference and job.adapters is None and not sharded)
    saved = state_of(job.change(strategy="one process"), shape)
    whole_state = saved.weights + saved.optimizer + job.moves * saved.reference
    if job.sharded:
        whole_state //= job.nodes
    kinds = {
        "processes": processes * PROCESS_HOST,
        "weights while they are loaded": processes * copies * whole,
        "optimizer's counters": processes * state.optimizer_host,
        "reference at rest": processes * state.reference if job.offload else 0,
        "checkpoint while it is saved": whole_state if sharded else 0,
    }
    return {kind: size for kind, size in kinds.items() if size}
