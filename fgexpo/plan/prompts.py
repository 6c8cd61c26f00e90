"""How long the prompts of a run really are, where its questions and its tokenizer are at hand.

The network is never asked, and no more prompts are written than take a second or two.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ..errors import MissingExtra, UserError
from ..model.loading import load_tokenizer
from ..tasks.sources import QuestionSource, look_in
from ..templates.encoder import PromptEncoder
from ..templates.template import Template
from .job import Job

MOST = 1000  # questions of each source whose prompts are written


@dataclass(frozen=True)
class Prompts:
    """Tokens of the prompts within ``model.max_prompt_tokens``.

    Attributes:
        shortest: of training.
        mean: of training.
        longest: of training and validation.
    """

    shortest: int
    mean: float
    longest: int

    def put_into(self, job: Job) -> Job:
        """The job with these instead of the limit alone."""
        return job.change(
            max_prompt=self.longest, shortest_prompt=self.shortest, mean_prompt=self.mean
        )


def read_prompts(config: Any) -> Prompts | None:
    """Measure a parsed ``fit`` configuration's; None where something is not quickly at hand.

    Raises:
        UserError: for a question file that cannot be used, or if no prompt is within the limit.
    """
    model, data = config.model.init_args, config.data.init_args
    if not Path(model.name).expanduser().is_dir():
        return None
    try:
        training = _made(QuestionSource, data.train)
        validation = [_made(QuestionSource, source) for source in (data.get("val") or {}).values()]
    except MissingExtra:  # the run may be planned for another machine, which has it
        return None
    look_in(data.get("root"), training, *validation)
    if not all(source.quick for source in (training, *validation)):
        return None
    limit = model.max_prompt_tokens
    encoder = PromptEncoder(load_tokenizer(model.name), _made(Template, model.template), limit)
    written = _lengths(encoder, training)
    own = [length for length in written if length <= limit]
    asked = [length for source in validation for length in _lengths(encoder, source)]
    if not own:
        raise UserError(
            f"data: train has no question that fits model.max_prompt_tokens = {limit}; the "
            f"shortest prompt has {min(written, default=0)} tokens"
        )
    return Prompts(
        min(own), sum(own) / len(own), max(length for length in own + asked if length <= limit)
    )


def _lengths(encoder: PromptEncoder, source: QuestionSource) -> list[int]:
    """Of prompts of any length spread over the source, the longest question among them."""
    texts = [question.prompt for question in source.questions()]
    some = [*texts[:: max(1, len(texts) // MOST)], max(texts, key=len, default="")]
    return [len(encoder.tokens(text)) for text in some if text]


def _made(kind: type, settings: Any) -> Any:
    """The object that ``class_path`` and ``init_args`` describe."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=kind)
    made: Any = parser.instantiate_classes(Namespace(it=settings))
    return made.it
