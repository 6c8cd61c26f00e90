from dataclasses import replace

import pytest
import torch
from near import same

from fgexpo.groups import Groups
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.sequences import join
from fgexpo.rollout import Native, RolloutRequest, Sampling
from fgexpo.rollout.draw_token import sample_tokens
from fgexpo.seeding import hash_seed

PROMPTS = [[3, 4, 5, 6, 7], [8], [9, 10, 11]]
STOP = [1]
FOURS = Groups([4] * len(PROMPTS))


def request(prompts=PROMPTS, group=4, seed=0, **sampling):
    seeds = [[hash_seed(seed, *prompt, g) for g in range(group)] for prompt in prompts]
    options = {"max_new_tokens": 12, **sampling}
    return RolloutRequest(prompts, seeds, Sampling(**options), STOP, torch.device("cpu"), 32)


def rows(completions):
    lengths = completions.lengths_N.tolist()
    return [row[:n] for row, n in zip(completions.tokens_NT.tolist(), lengths, strict=True)]


def test_logprobs_are_the_policys(model):
    for temperature in (1.0, 0.6):
        found = Native().generate(model, request(temperature=temperature))
        expected, _ = completion_logprobs(model, join(PROMPTS, found, FOURS), temperature)
        same(found.logp_NT, expected.detach())


def test_a_sample_depends_on_its_own_seed_alone(model):
    together = rows(Native().generate(model, request(group=4)))
    alone = rows(Native().generate(model, request(prompts=[PROMPTS[2]], group=2)))
    waves = rows(Native(max_rows=4).generate(model, request(group=4)))
    assert alone == together[8:10]
    assert waves == together
    assert rows(Native().generate(model, request(group=4, seed=1))) != together


def test_groups_of_different_sizes(model):
    """Each sample is what it is among equally many of every prompt."""
    whole = request(group=6)
    all_rows = rows(Native().generate(model, whole))
    for max_rows in (1024, 5, 1):
        ragged = replace(whole, seeds=[whole.seeds[0][:1], whole.seeds[1], whole.seeds[2][2:5]])
        found = Native(max_rows=max_rows).generate(model, ragged)
        assert rows(found) == [all_rows[0], *all_rows[6:12], *all_rows[14:17]]
        expected, _ = completion_logprobs(model, join(PROMPTS, found, ragged.groups), 1.0)
        same(found.logp_NT, expected.detach())


def test_greedy_equals_the_library(model):
    found = rows(Native().generate(model, request(group=1, temperature=0.0)))
    for prompt, row in zip(PROMPTS, found, strict=True):
        expected = model.generate(
            torch.tensor([prompt]),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=1,
            pad_token_id=0,
        )[0, len(prompt) :]
        assert row == expected.tolist()


def test_finish_reasons_and_lengths(model):
    found = Native().generate(model, request(group=64))
    assert {"stop", "length"} == set(found.finish), "the example must show both ends"
    for row, finish in zip(rows(found), found.finish, strict=True):
        assert (row[-1] in STOP) == (finish == "stop")
        assert not any(token in STOP for token in row[:-1])
        assert len(row) == 12 or finish == "stop"
    assert torch.equal(found.mask_NT.sum(1), found.lengths_N)
    assert (found.tokens_NT[~found.mask_NT] == 0).all()


def test_samples_follow_the_distribution(model):
    count = 4000
    found = Native(max_rows=count).generate(model, request([PROMPTS[0]], count, max_new_tokens=1))
    expected = model(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1).detach()
    share = torch.bincount(found.tokens_NT[:, 0], minlength=len(expected)) / count
    # Five standard errors of a share.
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / count).sqrt() + 1e-3).all()


def test_sampling_inverts_the_cumulative_distribution():
    logits = torch.tensor([[0.5, 0.2, 0.3]], dtype=torch.float64).log().expand(6, 3)
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.69, 0.71, 0.9999999])
    token, logp = sample_tokens(logits, uniform, Sampling())
    assert token.tolist() == [0, 0, 1, 1, 2, 2]
    same(logp.exp(), [0.5, 0.5, 0.2, 0.2, 0.3, 0.3])


def test_the_last_number_does_not_fall_off_the_end():
    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    token, _ = sample_tokens(logits, torch.tensor([1 - 2**-24]), Sampling())
    assert token.item() == 1


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 2}, {0, 2}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0.51}, {0, 2}),
        ({"top_p": 0.81}, {0, 1, 2}),
        ({"top_k": 2, "top_p": 0.6}, {0}),
    ],
)
def test_top_p_and_top_k_cut_what_is_drawn_not_the_logprob(options, kept):
    logits = torch.tensor([[0.5, 0.2, 0.3]], dtype=torch.float64).log().expand(100, 3)
    token, logp = sample_tokens(logits, torch.arange(100) / 100, Sampling(**options))
    assert set(token.tolist()) == kept
    same(logp, logits.gather(1, token[:, None])[:, 0])


@pytest.mark.parametrize(
    "options", [{"max_new_tokens": 0}, {"temperature": -1}, {"top_p": 0}, {"top_k": -1}]
)
def test_bad_settings(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Sampling(**options)
