"""A class that is named instead of another one has its own defaults."""

from fgexpo.outside.parser import Parser
from fgexpo.rewards import MathVerifier, Verifier


class Holder:
    def __init__(self, verifier: Verifier = MathVerifier()) -> None:
        self.verifier = verifier


def settings(*arguments):
    parser = Parser(exit_on_error=False)
    parser.add_class_arguments(Holder, "model")
    return parser.parse_args(list(arguments)).model.verifier.init_args


def test_defaults_of_the_class_before_are_forgotten():
    scorer = settings("--model.verifier=fgexpo.rewards.ReasoningGymScorer")
    assert (scorer.reads, scorer.timeout, scorer.right_from) == ("first_line", 5.0, 1.0)


def test_choices_are_carried_over():
    chosen = ("--model.verifier=MathVerifier", "--model.verifier.timeout=9")
    scorer = settings(*chosen, "--model.verifier=fgexpo.rewards.ReasoningGymScorer")
    assert (scorer.reads, scorer.timeout) == ("first_line", 9.0)


def test_the_same_class_keeps_what_it_has():
    verifier = settings("--model.verifier=MathVerifier", "--model.verifier.timeout=9")
    assert (verifier.reads, verifier.timeout) == ("box", 9.0)
