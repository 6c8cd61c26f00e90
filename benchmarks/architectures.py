"""Which architectures are trained exactly: log-probs of random models against a plain forward pass.

``python benchmarks/architectures.py --out docs/architectures.md`` opens every model of
``tiny_models.py`` as a run would, with noise on its biases and norms, and writes a table: by how
much training and sampling differ from the model's own forward pass on each row alone, or the
sentence that refuses it. It exits with 1 if one is accepted and not right.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_models import MODELS, tiny_config
from transformers import AutoModelForCausalLM

from fgexpo.errors import UserError
from fgexpo.model.exactness import apart, plain_logprobs
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.packing import is_packed
from fgexpo.model.sequences import join
from fgexpo.outside.quiet import hush
from fgexpo.policy import check_policy
from fgexpo.rollout import Native, RolloutRequest, Sampling
from fgexpo.tasks.tiny_model import TinyQwen2

# Nats, in float32.
RIGHT = 1e-4
# Tokens of the prompts, one row of which is long enough for every window; rollouts of each.
PROMPTS, GROUP, NEW = (5, 40, 1), 3, 16

LENGTHS = ", ".join(map(str, PROMPTS))
HEAD = f"""# Architectures

`python benchmarks/architectures.py --out docs/architectures.md` makes this table with random models
of about 50,000 parameters: float32, noise on biases and norms, prompts of {LENGTHS} tokens, up to
{NEW} new ones. *Training* and *sampling* are the largest differences of a token's log-prob, in
nats, from the model's own forward pass on that row alone: training in a batch of short and long
rows, sampling by the native engine's KV cache.

No list of names decides. When a model is opened, four short rows are tried
([exactness.py](../fgexpo/model/exactness.py)): where packed rows are off, rows are padded; where
padded ones are off too, or the engine is, the run ends with one sentence before it starts. A large
model is tried with its first layers alone. While a run trains,
`sampling/sampling_logp_difference/mean` is watched: the native engine may differ by 1e-3 on
average in float32 and by 0.3 in bf16-mixed (`model.engine.max_logp_difference`), some hundred times
what rounding makes of it.

Longrope (Phi-3.5) is right up to `original_max_position_embeddings`; longer settings are refused.
Of a model of images and text (Gemma 3), the text's part is trained and the rest is frozen.
"""


@dataclass
class Outcome:
    """What becomes of a model.

    Attributes:
        rows: ``packed`` or ``padded``; empty if it is refused.
        training: largest difference of training's log-probs.
        sampling: largest difference of the engine's.
        refusal: the sentence, without the setting's name.
    """

    rows: str = ""
    training: float = 0.0
    sampling: float = 0.0
    refusal: str = ""


def try_model(name: str, folder: Path) -> Outcome:
    """Save a random model, open it as a run does, and measure.

    Args:
        name: of :data:`MODELS`.
        folder: for its files.
    """
    write_tiny(name, folder)
    try:
        model = load_model(str(folder))
        check_policy(model, Native())
    except UserError as error:
        return Outcome(refusal=str(error).replace(f"'{folder}'", "the folder"))
    training, sampling = differences(model)
    return Outcome("packed" if is_packed(model) else "padded", training, sampling)


def write_tiny(name: str, folder: Path) -> None:
    """Write the folder of a random model whose biases and norms would be missed."""
    tokenizer = TinyQwen2().tokenizer()
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(tiny_config(name, tokenizer))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def differences(model: Any) -> tuple[float, float]:
    """Largest difference of training's and of the engine's log-probs from a plain forward pass."""
    # No special tokens, in any of which a completion may end.
    words = [[2 + (7 * n + 3 * length) % 19 for n in range(length)] for length in PROMPTS]
    seeds = [[100 * q + g for g in range(GROUP)] for q in range(len(PROMPTS))]
    longest = max(PROMPTS) + NEW
    request = RolloutRequest(
        words, seeds, Sampling(NEW), [3, 4], next(model.parameters()).device, longest
    )
    with torch.no_grad():
        sampled = Native().generate(model, request)
        rows = join(words, sampled, request.groups)
        plain_NT, _ = plain_logprobs(model, rows)
        model.train()
        trained = [completion_logprobs(model, part)[0] for part in (rows, apart(rows))]
        model.eval()
    off = [float((found_NT - plain_NT).abs().max()) for found_NT in (*trained, sampled.logp_NT)]
    return max(off[:-1]), off[-1]


def table(outcomes: dict[str, Outcome]) -> str:
    """The outcomes as Markdown."""
    lines = ["| architecture | rows | training | sampling |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {found.rows} | {found.training:.0e} | {found.sampling:.0e} |"
        for name, found in outcomes.items()
        if not found.refusal
    ]
    lines += ["", "Refused:", "", "| architecture | the sentence |", "|---|---|"]
    lines += [f"| {name} | {found.refusal} |" for name, found in outcomes.items() if found.refusal]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Try all, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of tiny_models.py; all by default")
    parser.add_argument("--out", type=Path, help="Markdown file to write; else it is printed")
    args = parser.parse_args()
    hush()
    transformers.logging.set_verbosity_error()
    outcomes = {}
    for name in args.names or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            outcomes[name] = try_model(name, Path(folder))
    version = ".".join(transformers.__version__.split(".")[:2])
    text = f"{HEAD}\nWith transformers {version}:\n\n{table(outcomes)}"
    if args.out is None:
        print(text)
    else:
        args.out.write_text(text)
    return int(any(max(found.training, found.sampling) > RIGHT for found in outcomes.values()))


if __name__ == "__main__":
    raise SystemExit(main())
