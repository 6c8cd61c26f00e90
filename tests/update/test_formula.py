import pytest
import torch
from helpers import fit, weights
from near import same

from fgexpo.losses import LossSettings
from fgexpo.model.loading import load_model
from fgexpo.rollout import Sampling
from fgexpo.update import rollout_loss


@pytest.mark.parametrize(
    ("precision", "temperature"), [("32-true", 1.0), ("32-true", 0.7), ("bf16-mixed", 1.0)]
)
def test_the_first_ratio_is_exactly_one(
    model_folder, tmp_path, monkeypatch, precision, temperature
):
    """Seen by the loss itself, with gradient, over several micro-batches of the first update."""
    ratios = []
    original = rollout_loss.objective

    def spy(loss, logp, old, ref, advantages, mask, **options):
        ratios.append((logp - old)[mask].exp().detach())
        return original(loss, logp, old, ref, advantages, mask, **options)

    monkeypatch.setattr(rollout_loss, "objective", spy)
    fit(
        model_folder,
        tmp_path,
        1,
        micro_batch_tokens=60,
        sampling=Sampling(max_new_tokens=8, temperature=temperature),
        mini_batch_questions=None,
        trainer={"precision": precision},
        dtype="float32",
    )
    assert len(ratios) > 2
    assert (torch.cat(ratios) == 1).all()


SHAPES = {
    "paper": {},
    "clipped": {"loss": LossSettings(clip_low=0.01, clip_high=0.01, dual_clip=None)},
    "dual": {"loss": LossSettings(dual_clip=1.001)},
    "k1": {"loss": LossSettings(kl_estimator="k1")},
    "hot": {"sampling": Sampling(max_new_tokens=8, temperature=1.7)},
    "unbiased": {"advantage_unbiased": True},
    "batch": {"advantage_scale": "batch"},
    "unscaled": {"advantage_scale": "none"},
    "short steps": {"max_grad_norm": 0.05},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_two_updates_against_the_formula(model_folder, tmp_path, shape):
    """Plain SGD on equations (1) to (5); at the second update the ratio has moved."""
    options = SHAPES[shape]
    module, _, recorder = fit(
        model_folder,
        tmp_path,
        1,
        **{
            "mini_batch_questions": None,
            "inner_epochs": 2,
            "kl_coef": 0.3,
            "warmup_steps": 0,
            "max_grad_norm": None,
            **options,
        },
    )
    batch, settings = recorder.batches[0], module.loss
    model, start = (load_model(model_folder, "float64") for _ in range(2))
    reward = batch.reward_N.view(4, 4)
    centred = reward - reward.mean(1, keepdim=True)
    scale = options.get("advantage_scale", "group")
    if scale == "group":
        std = reward.std(1, correction=int("advantage_unbiased" in options), keepdim=True)
    else:
        std = reward.std(correction=0) if scale == "batch" else 1 - 1e-6
    advantage = (centred / (std + 1e-6)).flatten().tolist()
    assert max(map(abs, advantage)) > 0.3, "the example must have something to learn"

    def logps(model, n):
        prompt = batch.source.prompts[n // 4]
        row = batch.completions.tokens_NT[n, : int(batch.completions.lengths_N[n])]
        logits = model(torch.tensor([prompt + row.tolist()])).logits[0, len(prompt) - 1 : -1]
        return (logits / module.sampling.temperature).log_softmax(-1).gather(1, row[:, None])[:, 0]

    old = [logps(start, n).detach() for n in range(16)]  # the reference is the same model
    moved = 0.0
    for _ in range(2):
        total = 0.0
        for n, a in enumerate(advantage):
            logp = logps(model, n)
            ratio = (logp - old[n]).exp()
            moved = max(moved, float((ratio - 1).detach().abs().max()))
            clipped = ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)
            objective = torch.minimum(ratio * a, clipped * a)
            if settings.dual_clip is not None and a < 0:
                objective = objective.clamp_min(settings.dual_clip * a)
            kl = logp - old[n]
            if settings.kl_estimator == "k3":
                kl = (-kl).exp() + kl - 1
            total = total + (0.3 * kl - objective).sum()
        model.zero_grad()
        (total / sum(map(len, old))).backward()
        if module.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), module.max_grad_norm)
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
    assert moved > 0.002
    expected = torch.cat([p.detach().flatten() for p in model.parameters()])
    same(weights(module), expected)
