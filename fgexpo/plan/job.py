"""The settings that memory and time depend on, in a flat form, so that changes can be planned."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from .adapters import Adapters

Strategy = Literal["one process", "ddp", "fsdp2"]
EngineKind = Literal["Native", "VLLM", "VLLMServer"]


@dataclass(frozen=True)
class Engine:
    """The engine that samples rollouts.

    Attributes:
        kind: the policy itself, vLLM in the same process, or a server on other GPUs.
        memory: share of the GPU's memory that vLLM may use.
        tensor_parallel: GPUs that share one engine.
        dtype: of vLLM's weights and KV cache; null for the policy's.
        sleep: vLLM gives its memory back outside generation.
        rows: sequences decoded at once.
        graphs: on a GPU the policy itself decodes with CUDA graphs, where it can.
    """

    kind: EngineKind = "Native"
    memory: float = 0.4
    tensor_parallel: int = 1
    dtype: torch.dtype | None = None
    sleep: bool = True
    rows: int = 1024
    graphs: bool = True


@dataclass(frozen=True)
class Optimizer:
    """Class path and arguments."""

    class_path: str = "torch.optim.AdamW"
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One process's request to an engine.

    Attributes:
        questions: prompts.
        group: completions per prompt.
        max_new: most tokens of a completion.
        filtered: whether top-p or top-k is on.
    """

    questions: int
    group: int
    max_new: int
    filtered: bool = False


@dataclass(frozen=True)
class Job:
    """One run on ``processes`` GPUs, or processes on a CPU.

    Attributes:
        config: the model's transformers configuration.
        processes: over all nodes.
        nodes: machines.
        cpu: whether the run is on a CPU.
        strategy: how the processes share the work.
        dtype: of the policy's weights in memory.
        autocast: bf16-mixed: matrix products in bf16 over those weights.
        bucket_view: whether DDP's buckets are the gradients themselves.
        optimizer: its class and arguments.
        engine: samples the rollouts.
        adapters: LoRA's; null where all weights are trained.
        checkpointing: activations are recomputed in the backward pass.
        reference: whether there is one; with LoRA it is the policy without adapters, not a copy.
        kl_in_reward: the KL is part of the reward, so all rows are scored before the updates.
        moves: the reference is moved: it is saved, and LoRA keeps a second set of adapters for it.
        offload: the reference rests in host memory.
        sharded: every process writes its own part of a checkpoint.
        questions: Q, per step, over all processes.
        group: G, rollouts per question.
        mini_batch: questions per optimizer step, over all processes.
        inner_epochs: passes over each rollout batch.
        micro_batch_tokens: limit on the tokens of a forward pass.
        max_prompt: most tokens of a prompt.
        shortest_prompt: fewest tokens of one.
        mean_prompt: mean tokens of one; null where it is not known.
        max_new: most tokens of a completion in training.
        filtered: training samples by top-p or top-k.
        waves: most waves of Q questions that a step asks, to train on Q of them.
        evaluation: validation's request; null without validation.
        steps: rollout steps of the run.
    """

    config: Any
    processes: int = 1
    nodes: int = 1
    cpu: bool = False
    strategy: Strategy = "one process"
    dtype: torch.dtype = torch.float32
    autocast: bool = False
    bucket_view: bool = False
    optimizer: Optimizer = Optimizer()
    engine: Engine = Engine()
    adapters: Adapters | None = None
    checkpointing: bool = False
    reference: bool = True
    kl_in_reward: bool = False
    moves: bool = False
    offload: bool = False
    sharded: bool = False
    questions: int = 256
    group: int = 8
    mini_batch: int = 256
    inner_epochs: int = 1
    micro_batch_tokens: int = 16384
    max_prompt: int = 1024
    shortest_prompt: int = 1
    mean_prompt: float | None = None
    max_new: int = 1024
    filtered: bool = False
    waves: int = 1
    evaluation: Call | None = None
    steps: int | None = None

    @property
    def compute(self) -> torch.dtype:
        """The dtype of matrix products, in which FSDP2 also gathers."""
        return torch.bfloat16 if self.autocast else self.dtype

    @property
    def seen(self) -> torch.dtype:
        """The dtype of the weights in the layers: FSDP2 passes them in the compute dtype."""
        return self.compute if self.strategy == "fsdp2" else self.dtype

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt and completion in training."""
        return self.max_prompt + self.max_new

    @property
    def longest_asked(self) -> int:
        """The same, evaluation included."""
        return self.max_prompt + max(call.max_new for call in self.calls)

    @property
    def calls(self) -> list[Call]:
        """The requests to the engine: in training, and in validation."""
        questions = self.questions // self.processes
        training = Call(questions, self.group, self.max_new, self.filtered)
        return [training] if self.evaluation is None else [training, self.evaluation]

    @property
    def own_rollouts(self) -> int:
        """Rollouts per step and process."""
        return self.questions * self.group // self.processes

    @property
    def mini_questions(self) -> int:
        """Questions of an optimizer step on one process."""
        return max(1, self.mini_batch // self.processes)

    @property
    def mini_rows(self) -> int:
        """Rollouts of an optimizer step on one process."""
        return max(1, self.mini_batch * self.group // self.processes)

    @property
    def micro_tokens(self) -> int:
        """Tokens of the largest micro-batch, prompts counted row by row."""
        return self.tokens_of(self.max_prompt)

    def tokens_of(self, prompt: int) -> int:
        """The same with prompts of this length: a sequence over the limit gets its own."""
        longest = prompt + self.max_new
        return max(min(self.micro_batch_tokens, self.mini_rows * longest), longest)

    @property
    def one_pass(self) -> bool:
        """Whether every optimizer step is certainly made in a single micro-batch."""
        return self.mini_rows * self.longest <= max(self.micro_batch_tokens, self.longest)

    @property
    def vllm(self) -> bool:
        """Whether vLLM shares the GPU with the policy."""
        return self.engine.kind == "VLLM"

    @property
    def parallel(self) -> int:
        """GPUs that share an engine."""
        return self.engine.tensor_parallel if self.vllm else 1

    def change(self, **settings: Any) -> "Job":
        """A copy with some settings changed."""
        return replace(self, **settings)
