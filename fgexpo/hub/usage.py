"""How to ask a model: three lines, with the prompt that it was trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..model.loading import load_end_ids, load_tokenizer
from ..outside.parser import Parser
from ..robustness.same_run import fingerprint_template
from ..templates import PromptEncoder, Template
from .markdown import block
from .run_config import setting

QUESTION = "What is 7 + 5?"


def example(encoder: PromptEncoder, model: str, max_new_tokens: int) -> str | None:
    """Python that asks one question; None if transformers cannot be given these prompts as text.

    Args:
        encoder: of the run.
        model: name to load the model by.
        max_new_tokens: of the run's sampling.
    """
    tokenizer, tokens = encoder.tokenizer, encoder.tokens(QUESTION)
    prompt = encoder.template.render(QUESTION, tokenizer)
    options = f"max_new_tokens={max_new_tokens}, return_full_text=False"
    if tokenizer(prompt).input_ids != tokens:
        # The template has written what the tokenizer would open a text with.
        if tokenizer(prompt, add_special_tokens=False).input_ids != tokens:
            return None
        options = f"add_special_tokens=False, {options}"
    lines = [
        "from transformers import pipeline",
        "",
        f'ask = pipeline("text-generation", model={model!r})',
        f"prompt = {prompt!r}",
        f'print(ask(prompt, {options})[0]["generated_text"])',
    ]
    return block("python", "\n".join(lines))


def read_encoder(
    config: Mapping[str, Any], facts: Mapping[str, Any], folder: Path
) -> PromptEncoder:
    """The template of a run's configuration, with the tokenizer of an exported folder.

    Raises:
        UserError: when there is none, it cannot be made here, or it is not the one that the
            checkpoint was trained with.
    """
    node = setting(config, "model.template")
    if node is None:
        raise UserError("the run's configuration names no model.template")
    parser = Parser(prog="model.template")
    parser.add_argument("--template", type=Template)
    made: Any = parser.instantiate_classes(parser.parse_object({"template": node}))
    longest = setting(config, "model.max_prompt_tokens") or 1024
    encoder = PromptEncoder(
        load_tokenizer(str(folder)), made.template, longest, load_end_ids(str(folder))
    )
    if facts.get("template", fingerprint_template(encoder)) != fingerprint_template(encoder):
        raise UserError(
            "the model.template of the run's configuration is not the one of the checkpoint"
        )
    return encoder
