"""All sizes: the true shape with real lengths, and a tiny one to test the script."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import Qwen2Config

from fgexpo.plan.known_models import r1_distill_1p5b


@dataclass(frozen=True)
class Decoding:
    """One measurement of generation: every completion has ``new`` tokens.

    Attributes:
        questions: prompts, each with a group of completions.
        prompt: tokens of the longest prompt; the shortest has half.
        new: tokens per completion.
        repeats: runs.
    """

    questions: int
    prompt: int
    new: int
    repeats: int


@dataclass(frozen=True)
class Fit:
    """A training run.

    Attributes:
        questions: per step, in two updates.
        group: rollouts of each.
        new: tokens per completion.
    """

    questions: int
    group: int
    new: int


@dataclass(frozen=True)
class Scale:
    """Sizes.

    Attributes:
        config: makes the model's configuration.
        small: makes that of a model of which several runs take little time.
        group: G, rollouts per question.
        questions: questions per update.
        prompt: tokens of the shortest and the longest prompt.
        new: tokens of the longest completion.
        micro_tokens: limits of a micro-batch; an update takes one of the first two, as fits.
        native: generation by the policy itself, with CUDA graphs and without.
        vllm: generation by vLLM.
        trl_rows: rollouts in a micro-batch of TRL.
        fit: training from the command line.
        repeats: runs of a pass.
    """

    config: Callable[[], Any]
    small: Callable[[], Any]
    group: int
    questions: int
    prompt: tuple[int, int]
    new: int
    micro_tokens: tuple[int, ...]
    native: dict[bool, tuple[Decoding, ...]]
    vllm: Decoding
    trl_rows: tuple[int, ...]
    fit: Fit
    repeats: int = 2


@dataclass(frozen=True)
class Setting:
    """The input of a section.

    Attributes:
        scale: by name, since it is sent to another process.
        device: ``cuda``, or ``cpu`` in tests.
    """

    scale: str
    device: str

    @property
    def size(self) -> Scale:
        """The scale itself."""
        return SCALES[self.scale]


def tiny_config() -> Qwen2Config:
    """0.2 M parameters, with heads of 32 channels, as vLLM's CPU kernels require."""
    return Qwen2Config(
        vocab_size=512,
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        initializer_range=0.1,
        tie_word_embeddings=False,
        eos_token_id=1,
    )


def small_config() -> Qwen2Config:
    """34 M parameters, with the heads of the true shape."""
    return Qwen2Config(
        vocab_size=16384,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        eos_token_id=1,
    )


SCALES = {
    "r1-1.5b": Scale(
        config=r1_distill_1p5b,
        small=small_config,
        group=8,
        questions=4,
        prompt=(100, 200),
        new=3072,
        micro_tokens=(8192, 16384, 24576),
        # Full length would take minutes; the last one begins where a long completion ends.
        native={
            True: (
                Decoding(questions=8, prompt=200, new=512, repeats=1),
                Decoding(questions=32, prompt=200, new=256, repeats=1),
                Decoding(questions=8, prompt=3008, new=64, repeats=1),
            ),
            # About 32 ms a token, whatever the rows.
            False: (
                Decoding(questions=8, prompt=200, new=128, repeats=1),
                Decoding(questions=32, prompt=200, new=128, repeats=1),
            ),
        },
        vllm=Decoding(questions=32, prompt=200, new=1024, repeats=1),
        trl_rows=(4, 8),
        fit=Fit(questions=16, group=8, new=256),
    ),
    "tiny": Scale(
        config=tiny_config,
        small=tiny_config,
        group=4,
        questions=2,
        prompt=(4, 8),
        new=24,
        micro_tokens=(32, 64, 128),
        native={
            graphs: (Decoding(questions=2, prompt=8, new=8, repeats=1),) for graphs in (True, False)
        },
        vllm=Decoding(questions=2, prompt=8, new=8, repeats=2),
        trl_rows=(4,),
        fit=Fit(questions=4, group=2, new=8),
    ),
}
