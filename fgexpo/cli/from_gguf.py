"""``python -m fgexpo from_gguf``: a GGUF file becomes a Hugging Face folder."""

from pathlib import Path
from typing import Any

import torch

from ..errors import EnvironmentFailure, UserError
from ..files import locked, whole_folder
from ..model.from_gguf import check_extra, read_gguf, write_folder
from ..model.loading import load_config, load_end_ids, load_tokenizer
from ..model.positions import position_limit
from ..outside.parser import Parser
from ..rollout import Native, RolloutRequest, Sampling
from ..templates import PLACEHOLDER, Custom, PromptEncoder
from ..templates.chat import has_chat, user_turn
from .gguf_source import find_gguf

# Of the answer to --ask.
TOKENS = 48


def main(arguments: list[str]) -> None:
    """Parse, convert, and ask the model if that is wanted."""
    parser = Parser(
        prog="fgexpo from_gguf",
        description="Write a Hugging Face folder, in float32, of the model in a GGUF file.",
    )
    parser.add_argument(
        "source", type=str, help="a .gguf file, a folder or an installed package that holds one"
    )
    parser.add_argument("--out", type=str, required=True, help="folder to write")
    parser.add_argument(
        "--ask", type=str | None, default=None, help="a question; the model's answer is printed"
    )
    parser.add_argument(
        "--expect",
        type=str | None,
        default=None,
        help="text that the answer must hold, or no folder is left",
    )
    config = parser.parse_args(arguments)
    convert(config.source, config.out, config.ask, config.expect)


def convert(source: str, out: str, ask: str | None = None, expect: str | None = None) -> None:
    """Write the folder, and print what it is; it appears when all of it is on disk.

    Args:
        source: a file, or a folder or an installed package that holds one.
        out: folder to write.
        ask: question for the model as the folder gives it, answered greedily, through its chat
            template if it has one.
        expect: text that the answer must hold.

    Raises:
        UserError: for a source that cannot be read, a folder that is not empty, a question that is
            empty or too long, or an expectation without a question.
        EnvironmentFailure: for another answer; no folder is left.
    """
    check_question(ask, expect)
    check_extra()
    path, folder = find_gguf(source), Path(out)
    with locked(folder, f"--out: the folder {out!r}"):
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"--out: folder {out!r} is not empty")
        print(f"reading {path}", flush=True)
        model, tokenizer = read_gguf(path)
        with whole_folder(folder) as partial:
            written = write_folder(model, tokenizer, partial)
            if ask is not None:
                _judge(answer(written, str(partial), ask), ask, expect)
    count = sum(weight.numel() for weight in model.parameters())
    print(
        f"wrote {out}: {model.config.model_type}, {count:,} parameters in float32; "
        f"use it by --model.name={out}"
    )


def check_question(ask: str | None, expect: str | None) -> None:
    """Check what is asked and expected.

    Raises:
        UserError: naming the flag.
    """
    for flag, text in {"--ask": ask, "--expect": expect}.items():
        if text is not None and not text.strip():
            raise UserError(f"{flag}: expected a text, got {text!r}")
    if expect is not None and ask is None:
        raise UserError("--expect is for an answer; ask a question with --ask")


def answer(model: Any, folder: str, question: str) -> str:
    """The model's greedy answer.

    Args:
        model: as the folder gives it.
        folder: with the tokenizer.
        question: a user's turn, if there is a chat template, or else the text to go on from.

    Raises:
        UserError: when the question is too long.
    """
    tokenizer = load_tokenizer(folder)
    limit = position_limit(load_config(folder))
    prompts = PromptEncoder(tokenizer, Custom(PLACEHOLDER), 0, load_end_ids(folder))
    tokens = prompts.tokens(user_turn(question, tokenizer) if has_chat(tokenizer) else question)
    longest = len(tokens) + TOKENS
    if limit.tokens is not None and longest > limit.tokens:
        raise UserError(
            f"--ask: the question has {len(tokens)} tokens, and its answer up to {TOKENS}, but "
            f"{limit.reason} {limit.tokens}"
        )
    sampling = Sampling(TOKENS, temperature=0.0)
    device = torch.device("cpu")
    request = RolloutRequest([tokens], [[0]], sampling, prompts.stop_ids, device, longest)
    with torch.no_grad():
        found = Native().generate(model, request)
    return prompts.decode(found.tokens_NT[0, : int(found.lengths_N[0])].tolist()).strip()


def _judge(said: str, ask: str, expect: str | None) -> None:
    print(f"asked {ask!r}, it answers {said!r}", flush=True)
    if expect is not None and expect not in said:
        raise EnvironmentFailure(
            f"--expect: {expect!r} is not in the answer, so the model was not read as it was "
            "meant; no folder is left"
        )
