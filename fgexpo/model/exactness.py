"""Whether log-probs are those of the model's own forward pass: tried out, not looked up.

Architectures differ in what a row may do to its neighbours and in what stands between the last
hidden state and the logits. No list of names covers them, so each is tried once, when it is opened,
on four short rows: what training and sampling compute is compared with a plain forward pass of each
row alone. The trial needs no random number and changes nothing in the model.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..outside import first_line
from .loading import on_cpu
from .logprobs import compute_logprobs
from .packing import enable_packing, text_config
from .precision import precise
from .sequences import Sequences, join_solutions

# Largest difference of a log-prob that is rounding, for logits of up to LOGITS; larger ones round
# more. Weights of 16 bits are for evaluation alone.
RIGHT = {torch.float64: 1e-7, torch.float32: 1e-4, torch.float16: 0.1, torch.bfloat16: 0.5}
LOGITS = 4.0
# A larger model is tried with its first layers, at least one of each kind, and its first words.
MANY_PARAMETERS = 2**26
FEW_WORDS = 4096
# Tokens of the two prompts, and of each one's two completions: short rows beside long ones, so
# unequal that sharing the prompts pays.
PROMPTS, COMPLETIONS = (4, 13), ((5, 3), (2, 6))
# What a library raises when it is asked for something that a model cannot do.
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)

_found: dict[tuple[str, str], str | None] = {}


class Trial:
    """Four rows whose log-probs are known from a plain forward pass.

    Args:
        model: a causal LM on the CPU, as it was opened.

    Attributes:
        sequences: the rows; each prompt has two of them.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        with on_cpu():
            self.sequences = probe_rows(min(text_config(model).vocab_size, FEW_WORDS))
        self._key = (
            f"{type(model)} {next(model.parameters()).dtype} {model.config.to_json_string()}"
        )
        self._plain: tuple[Tensor, float] | None = None

    def fault(self, way: str, logprobs: Callable[[], Tensor]) -> str | None:
        """What is wrong with a way to compute the rows' log-probs; None if nothing is.

        Models of the same configuration are tried once in a process.

        Args:
            way: its name.
            logprobs: computes them, [N, T].
        """
        key = (way, self._key)
        if key not in _found:
            _found[key] = self._try(logprobs)
        return _found[key]

    def _try(self, logprobs: Callable[[], Tensor]) -> str | None:
        training = self.model.training
        with on_cpu(), torch.no_grad(), torch.random.fork_rng(devices=[]), small(self.model):
            try:
                if self._plain is None:
                    self._plain = plain_logprobs(self.model.eval(), self.sequences)
                found_NT = logprobs()
            except FAILURES as error:
                return f"fails ({first_line(error)})"
            finally:
                self.model.train(training)
        expected_NT, largest = self._plain
        if not math.isfinite(largest):
            return "fails (its own forward pass gives numbers that are not finite)"
        off = float((found_NT - expected_NT).abs().max())
        limit = RIGHT[next(self.model.parameters()).dtype] * max(1.0, largest / LOGITS)
        # Not "off > limit": a number that is not finite is not near.
        return None if off <= limit else f"is off by up to {off:.2g} nats"


def choose_rows(model: Any, trial: Trial | None = None) -> None:
    """Let a model read padding-free rows where that is exact, else padded ones.

    Args:
        model: a causal LM on the CPU.
        trial: of this model; None for a new one.

    Raises:
        UserError: when neither gives the log-probs of the model's own forward pass.
    """
    trial = Trial(model) if trial is None else trial
    before = model.config._attn_implementation
    if enable_packing(model):
        shared = trial.fault("packed", partial(_trained, model, trial.sequences))
        whole = trial.fault("packed whole", lambda: _trained(model, apart(trial.sequences)))
        if shared is None and whole is None:
            return
        model.set_attn_implementation(before)
    fault = trial.fault("padded", partial(_trained, model, trial.sequences))
    if fault is not None:
        raise UserError(
            f"model.name: {type(model).__name__} is not supported in training: computing log-probs "
            f"by the LM head from the last hidden states of a batch {fault}, against the model's "
            "own forward pass on each row"
        )


def _trained(model: Any, rows: Sequences) -> Tensor:
    """As an update computes them: in train mode, in which nothing may be random."""
    model.train()
    return compute_logprobs(model, rows, 1.0, entropy=False)[0]


def apart(sequences: Sequences) -> Sequences:
    """The same rows, none of which shares its prompt."""
    return replace(sequences, prompt_N=torch.arange(len(sequences.tokens_NL)))


def probe_rows(vocabulary: int) -> Sequences:
    """Rows of fixed tokens from all over a vocabulary.

    Args:
        vocabulary: tokens that there are.
    """
    # The golden ratio spreads numbers evenly, and never repeats.
    spread = [int((0.381966 + 0.618034 * n) % 1 * vocabulary) for n in range(64)]
    prompts, solutions = [], []
    for length, completions in zip(PROMPTS, COMPLETIONS, strict=True):
        prompt, spread = spread[:length], spread[length:]
        for count in completions:
            prompts.append(prompt)
            solutions.append(spread[:count])
            spread = spread[count:]
    rows = join_solutions(prompts, solutions)
    rows.prompt_N = torch.tensor([0, 0, 1, 1])
    return rows


def plain_logprobs(model: Any, sequences: Sequences) -> tuple[Tensor, float]:
    """Log-probs of completions by the model's own forward pass, row by row, without cache or mask.

    Returns:
        [N, T], 0 in the padding, and the largest logit's size.
    """
    dtype = precise(next(model.parameters()).dtype)
    logp_NT = torch.zeros(sequences.mask_NT.shape, dtype=dtype)
    largest = 0.0
    for n, row_L in enumerate(sequences.tokens_NL):
        stop, count = int(sequences.lengths_N[n]), int(sequences.completion_lengths_N[n])
        row_L = row_L[:stop]
        logits_LV = model(input_ids=row_L[None], use_cache=False).logits[0].to(dtype)
        largest = float(logits_LV.abs().max().clamp_min(largest))  # not max(), which loses a NaN
        logp_LV = logits_LV[stop - count - 1 : -1].log_softmax(-1)
        logp_NT[n, :count] = logp_LV.gather(1, row_L[stop - count :, None])[:, 0]
    return logp_NT, largest


@contextmanager
def small(model: Any) -> Iterator[None]:
    """Make a large model small for a while, so that a pass costs next to nothing.

    Its other layers and the rest of its head's rows are put aside and come back as they were.
    """
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    stacks = {name: part for name, part in decoder.named_children() if _is_stack(part)}
    if len(stacks) != 1 or sum(p.numel() for p in model.parameters()) <= MANY_PARAMETERS:
        yield
        return
    ((name, layers),) = stacks.items()
    config, weight = text_config(model), head.weight
    kinds = getattr(config, "layer_types", None)
    depth = _depth(layers, kinds)
    settings = dict(vars(config))
    try:
        setattr(decoder, name, layers[:depth])
        config.num_hidden_layers = depth
        if kinds:
            config.layer_types = kinds[:depth]
        head.weight = nn.Parameter(weight.detach()[:FEW_WORDS], requires_grad=False)
        yield
    finally:
        setattr(decoder, name, layers)
        vars(config).update(settings)
        head.weight = weight


def _is_stack(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList) and len(module) > 1


def _depth(layers: nn.ModuleList, kinds: list[str] | None) -> int:
    """Layers up to the first of the last new kind, and no fewer than two."""
    seen = [
        (kinds and kinds[n], *(type(part) for part in layer.modules()))
        for n, layer in enumerate(layers)
    ]
    return max(2, *(seen.index(kind) + 1 for kind in set(seen)))
