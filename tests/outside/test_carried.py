"""A class that is named instead of another one has its own defaults, and what someone chose."""

import json
from collections.abc import Callable, Iterable

import pytest
import torch
from jsonargparse import ArgumentParser as Plain

from fgexpo.outside.parser import Parser
from fgexpo.rewards import MathVerifier, Verifier

SCORER = "fgexpo.rewards.ReasoningGymScorer"
Optimizers = Callable[[Iterable], torch.optim.Optimizer]


class Holder:
    def __init__(
        self,
        verifier: Verifier = MathVerifier(),
        optimizer: Optimizers = lambda params: torch.optim.AdamW(params, lr=1e-6),
    ) -> None:
        self.verifier, self.optimizer = verifier, optimizer


def parser():
    made = Parser(exit_on_error=False)
    made.add_argument("--config", action="config")
    made.add_class_arguments(Holder, "model")
    return made


@pytest.fixture(params=["plain", "subcommand"])
def settings(request, tmp_path):
    """Parse flags after a file, as a command of its own or as a subcommand, as ``fit`` is."""

    def parse(*flags, **model):
        (tmp_path / "given.yaml").write_text(json.dumps({"model": model}))
        arguments = [f"--config={tmp_path / 'given.yaml'}", *flags]
        if request.param == "plain":
            return parser().parse_args(arguments).model
        outer = Parser(exit_on_error=False)
        outer.add_subcommands().add_subcommand("fit", parser())
        return outer.parse_args(["fit", *arguments]).fit.model

    return parse


def test_defaults_of_the_class_before_are_forgotten(settings):
    by_flag = settings(f"--model.verifier={SCORER}").verifier.init_args
    in_file = settings(verifier={"class_path": SCORER}).verifier.init_args
    for scorer in (by_flag, in_file):
        assert (scorer.reads, scorer.timeout, scorer.right_from) == ("first_line", 5.0, 1.0)


@pytest.mark.parametrize("timeout", [9.0, 2.0], ids=["another", "the class's default"])
def test_what_someone_wrote_is_carried_over(settings, timeout):
    other, flag = f"--model.verifier={SCORER}", f"--model.verifier.timeout={timeout}"
    written = {"class_path": "MathVerifier", "init_args": {"timeout": timeout}}
    for model in (
        settings("--model.verifier=MathVerifier", flag, other),
        settings(flag, other),
        settings(other, verifier=written),
        settings(other, verifier={"init_args": {"timeout": timeout}}),
    ):
        scorer = model.verifier.init_args
        assert (scorer.reads, scorer.timeout) == ("first_line", timeout)


def test_a_rate_that_happens_to_be_a_class_s_default_is_carried_over(settings):
    other = "--model.optimizer=torch.optim.RMSprop"
    written = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}}
    assert settings(other, optimizer=written).optimizer.init_args.lr == 1e-3
    flags = ("--model.optimizer=torch.optim.AdamW", "--model.optimizer.lr=1e-3", other)
    assert settings(*flags).optimizer.init_args.lr == 1e-3
    # The slot's own rate was chosen too, by whoever wrote the slot.
    made = settings(other).optimizer.init_args
    assert (made.lr, made.weight_decay) == (1e-6, 0)


def test_the_same_class_keeps_what_it_has(settings):
    verifier = settings("--model.verifier=MathVerifier", "--model.verifier.timeout=9").verifier
    assert (verifier.init_args.reads, verifier.init_args.timeout) == ("box", 9.0)


def test_what_stays_as_it_is_reads_as_ever(settings):
    """Filled up, as by the parser of the library."""
    plain = Plain(exit_on_error=False)
    plain.add_class_arguments(Holder, "model")
    expected = plain.parse_args([]).model
    assert settings() == expected == parser().get_defaults().model
    assert expected.verifier.init_args.reads == "box"
