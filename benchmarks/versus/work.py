"""The input of both sides: a model folder, questions, and the sizes of a training step."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fgexpo.model.loading import load_tokenizer
from fgexpo.rollout import RolloutRequest, Sampling
from fgexpo.seeding import hash_seed
from fgexpo.tasks.sources import TinyArithmetic
from fgexpo.tasks.tiny_model import EOS, TinyQwen2
from fgexpo.templates import Plain, PromptEncoder

ROOT = Path(__file__).parents[2]
BASE = ROOT / "checkpoints" / "tiny-base"
PROMPT = 64  # most tokens of a prompt, as in configs/tiny.yaml
POOL = 70  # questions for each of the 24 kinds, as in configs/tiny.yaml
BETA, CLIP_LOW, CLIP_HIGH = 0.02, 0.2, 0.28
SMALL = TinyQwen2(hidden_size=128, layers=3, heads=4, kv_heads=2, intermediate_size=384)
LARGE = TinyQwen2(
    hidden_size=256, layers=6, heads=8, kv_heads=4, intermediate_size=768, max_positions=1024
)


@dataclass(frozen=True)
class Work:
    """One comparison.

    Attributes:
        title: its name.
        shape: of a model with random weights that never ends a completion; None is the embedded
            base, which ends them when it likes.
        questions: questions per step.
        group: rollouts per question.
        tokens: most new tokens.
        updates: optimizer steps per rollout batch.
        rows: rollouts in a micro-batch of TRL, which takes as many as divide its updates.
        learning_rate: of AdamW.
        warm: steps that are not counted.
        steps: steps that are counted.
        limit: the target ratio of seconds.
    """

    title: str
    shape: TinyQwen2 | None
    questions: int = 32
    group: int = 8
    tokens: int = 48
    updates: int = 1
    rows: int = 64
    learning_rate: float = 1e-6
    warm: int = 2
    steps: int = 8
    limit: float = 0.5

    @property
    def rollouts(self) -> int:
        """Rollouts per step."""
        return self.questions * self.group

    @property
    def fixed(self) -> bool:
        """Whether every completion has exactly ``tokens`` tokens."""
        return self.shape is not None


WORKS = {
    "fixed-0.6M": Work("256 rollouts x 48 tokens, 0.6 M", SMALL, steps=4),
    "fixed-5M": Work("256 rollouts x 48 tokens, 5 M", LARGE, warm=1, steps=1),
    "natural": Work(
        "256 rollouts of natural length, tiny world",
        None,
        tokens=32,
        updates=2,
        learning_rate=1e-4,
        warm=3,
        steps=8,
        limit=0.42,
    ),
    "long": Work(
        "32 rollouts x 512 tokens, 5 M", LARGE, questions=4, tokens=512, rows=8, warm=1, steps=1
    ),
}


def pool() -> list[dict[str, str]]:
    """The questions, for both sides the same."""
    return [
        {"prompt": question.prompt, "answer": question.answer}
        for question in TinyArithmetic(per_cell=POOL).questions()
    ]


def one_step(work: Work, folder: Path) -> RolloutRequest:
    """A step's questions, evenly spaced in the pool, encoded for the model in this folder."""
    encoder = PromptEncoder(load_tokenizer(str(folder)), Plain(), PROMPT)
    rows = pool()
    chosen = rows[:: len(rows) // work.questions][: work.questions]
    return RolloutRequest(
        prompts=[encoder.tokens(row["prompt"]) for row in chosen],
        seeds=[[hash_seed(q, g) for g in range(work.group)] for q in range(work.questions)],
        sampling=Sampling(work.tokens),
        stop_ids=encoder.stop_ids,
        device=torch.device("cpu"),
        longest=PROMPT + work.tokens,
    )


def model_folder(work: Work, folder: Path) -> Path:
    """The folder of this work's model; a random model is created there."""
    if work.shape is None:
        if not BASE.is_dir():
            raise SystemExit(f"{BASE} is not there: run `make demo` first, which makes it")
        return BASE
    torch.manual_seed(0)
    model, tokenizer = work.shape.model(), work.shape.tokenizer()
    never_end(model, tokenizer.convert_tokens_to_ids(EOS))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def never_end(model: torch.nn.Module, eos: int) -> None:
    """Give every token a first channel that only lowers eos.

    So neither side needs, or pays for, an option for completions of a fixed length.
    """
    embeddings = model.get_input_embeddings().weight  # pyright: ignore[reportCallIssue]
    head = model.get_output_embeddings().weight  # pyright: ignore[reportCallIssue]
    embeddings[:, 0] = 1.0
    head[:, 0] = 0.0
    head[eos] = 0.0
    head[eos, 0] = -1000.0
