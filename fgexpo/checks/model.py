"""Whether a model can be trained and sampled from as it is, tried when it is opened."""

from torch import nn

from ..model.exactness import Trial, choose_rows
from ..model.lm_head import check_head
from ..rollout import RolloutEngine


def check_policy(policy: nn.Module, engine: RolloutEngine) -> None:
    """Check that training and sampling compute what a model's own forward pass does.

    Args:
        policy: a causal LM on the CPU, as it was opened; how it reads rows is settled here.
        engine: which will sample from it.

    Raises:
        UserError: naming the model's class and what is off.
    """
    check_head(policy)
    trial = Trial(policy)
    choose_rows(policy, trial)
    engine.check_model(policy, trial)
