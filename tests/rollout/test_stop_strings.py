"""Completions end with the token that completes a stop string, in every engine."""

from dataclasses import replace

import pytest
import torch
from near import same
from small_tokenizers import byte_level, sentencepiece
from transformers import LlamaConfig, LlamaForCausalLM

from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.sequences import join
from fgexpo.rollout import Native, RolloutRequest, Sampling
from fgexpo.rollout.stop_text import cut_at_text
from fgexpo.seeding import hash_seed
from fgexpo.tasks.tiny_model import TinyQwen2
from fgexpo.templates import StopStrings

GROUP = 24


def random_policy(tokenizer, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 3,  # ids without a text, as padded vocabularies have them
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).double().eval()


def request(tokenizer, strings, group=GROUP, **sampling):
    prompts = [tokenizer(text).input_ids for text in ("Q: 1+2=</ans", "x+ the answer>")]
    seeds = [[hash_seed(q, g) for g in range(group)] for q in range(len(prompts))]
    stops = StopStrings(strings, tokenizer) if strings else None
    options = {"max_new_tokens": 24, **sampling}
    cpu = torch.device("cpu")
    return RolloutRequest(prompts, seeds, Sampling(**options), [1], cpu, 80, stops)


def rows(completions):
    lengths = completions.lengths_N.tolist()
    return [row[:n] for row, n in zip(completions.tokens_NT.tolist(), lengths, strict=True)]


def by_hand(tokenizer, prompt, tokens, strings):
    """Tokens up to the first after which the text that they add to the prompt holds a string."""
    before = tokenizer.decode(prompt)
    for count in range(1, len(tokens) + 1):
        text = tokenizer.decode([*prompt, *tokens[:count]])[len(before) :]
        if any(string in text for string in strings):
            return count
    return None


def characters():
    """One token a character, so that a random model writes strings of several."""
    return TinyQwen2().tokenizer()


CASES = [
    (characters, ("12", "+3", "x=-")),
    (byte_level, ("er", "\n")),
    (byte_level, (" the", "é", "Q: w")),
    (sentencepiece, ("\n", " t", "th")),
]


@pytest.mark.parametrize(("make", "strings"), CASES)
def test_a_completion_ends_with_the_token_that_completes_a_string(make, strings):
    tokenizer = make()
    policy = random_policy(tokenizer)
    asked = request(tokenizer, strings)
    found = Native(max_rows=24).generate(policy, asked)
    free = Native().generate(policy, request(tokenizer, ()))
    expected, reasons = [], []
    for row, (tokens, reason) in enumerate(zip(rows(free), free.finish, strict=True)):
        count = by_hand(tokenizer, asked.prompts[row // GROUP], tokens, strings)
        expected.append(tokens[:count])
        reasons.append(reason if count is None else "stop")
    assert rows(found) == expected and found.finish == reasons
    assert reasons.count("stop") > free.finish.count("stop"), "the example must show a string"
    logp, _ = completion_logprobs(policy, join(asked.prompts, found, asked.groups), 1.0)
    same(found.logp_NT, logp.detach())
    # What an engine drew that knows no strings is cut to the same.
    tokens, logps, finish = rows(free), free.logp_NT.tolist(), list(free.finish)
    cut_at_text(asked, tokens, logps, finish)
    assert (tokens, finish) == (expected, reasons)
    assert all(len(a) <= len(b) for a, b in zip(tokens, logps, strict=True))
    # Each of its prompt, in groups of different sizes too.
    ragged, kept = replace(asked, seeds=[asked.seeds[0][:3], asked.seeds[1]]), slice(3, GROUP)
    del expected[kept], tokens[kept], logps[kept], finish[kept]
    assert rows(Native(max_rows=24).generate(policy, ragged)) == expected
    cut_at_text(ragged, tokens, logps, finish)
    assert tokens == expected


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
@pytest.mark.parametrize(
    ("text", "strings", "kept"),
    [
        ("the answer is 6.</answer> and more", ("</answer>",), "the answer is 6.</answer>"),
        ("6\n\nQ: what", ("Q:",), "6\n\nQ:"),
        ("the answer is 6", ("</answer>", "Q:"), None),
        ("wer>", ("</answer>",), None),  # its first half is in the prompt
        (" Q: what", (" Q",), " Q"),
        ("é and ü", ("ü",), "é and ü"),
    ],
)
def test_strings_over_token_boundaries(make, text, strings, kept):
    tokenizer = make()
    stops = StopStrings(strings, tokenizer)
    prompt = tokenizer("Q: what is 4 + 2? </ans").input_ids
    tokens = tokenizer("x" + text, add_special_tokens=False).input_ids
    tokens = tokens[len(tokenizer("x", add_special_tokens=False).input_ids) :]
    length = stops.length(prompt, tokens)
    if kept is None:
        assert length is None
    else:
        assert tokenizer.decode(tokens[:length]).strip() == kept.strip()


def test_runs_without_strings_ask_nothing(monkeypatch):
    monkeypatch.setattr("fgexpo.rollout.native.ended_by_text", None)
    tokenizer = byte_level()
    Native().generate(random_policy(tokenizer), request(tokenizer, (), 2))
