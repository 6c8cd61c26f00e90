import json
import math

import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer
from lightning.pytorch import Callback
from near import within

from fgexpo.datamodules import QuestionDataset, SupervisedDataModule
from fgexpo.evaluation import EvaluationSettings
from fgexpo.model.sequences import Sequences
from fgexpo.questions import Question
from fgexpo.rollout import Sampling
from fgexpo.supervised import SupervisedModule
from fgexpo.tasks import QuestionSource
from fgexpo.tasks.tiny_model import TinyQwen2
from fgexpo.templates import R1, AnswerLine, ChatMLBox, Custom, Plain, PromptEncoder


class Given(QuestionSource):
    def __init__(self, *questions):
        self.given = list(questions)

    def questions(self):
        return self.given


@pytest.fixture
def encoder(tokenizer):
    return PromptEncoder(tokenizer, Plain(), 8)


def test_long_prompts_are_dropped_and_counted(encoder):
    source = Given(
        Question("a", "1" * 8, "1"), Question("b", "1" * 9, "1"), Question("c", "1", "1")
    )
    data = QuestionDataset("x", source, encoder)
    assert [question.id for question in data.questions] == ["a", "c"]
    assert data.dropped == 1
    assert [len(prompt) for prompt in data.prompts] == [8, 1]


@pytest.mark.parametrize(
    ("questions", "words"),
    [
        ([Question("a", "1", " ")], "'a' has no answer"),
        ([Question("a", "1", "1"), Question("a", "2", "2")], "two questions with the id 'a'"),
        ([Question("a", "1" * 9, "1")], "no question that fits"),
        ([Question("a", "", "1")], "has no prompt tokens"),
        ([Question("a\ud800", "1", "1")], "half a character in its id"),
        ([Question("a", "1\ud800", "1")], "half a character in its prompt"),
        ([Question("a", "1", "1\ud800")], "half a character in its answer"),
        ([Question("a", "1", "1", {"level": "\ud800"})], "half a character in its level"),
    ],
)
def test_bad_questions(encoder, questions, words):
    with pytest.raises(ValueError, match=words):
        QuestionDataset("x", Given(*questions), encoder)


def test_fingerprint_follows_content_and_order(encoder):
    a, b = Question("a", "1", "1"), Question("b", "2", "2")
    prints = {
        QuestionDataset("x", Given(*questions), encoder).fingerprint
        for questions in ([a, b], [b, a], [a], [a, Question("b", "2", "3")])
    }
    assert len(prints) == 4


def test_templates(tokenizer):
    text = ChatMLBox().render("1+1?", tokenizer)
    assert text.startswith("<|im_start|>user\n1+1?\n") and text.endswith("<|im_start|>assistant\n")
    assert r"\boxed{}" in text
    with pytest.raises(ValueError, match="does not have"):
        PromptEncoder(tokenizer, ChatMLBox(), 8)
    with pytest.raises(ValueError, match="chat template"):
        R1().render("1+1?", tokenizer)
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    assert R1().render("1+1?", tokenizer).startswith("[user]1+1?\n")


def test_a_template_that_asks_for_a_last_line(tokenizer):
    plain = AnswerLine().render("1+1?", tokenizer)
    first, question, last, nothing = plain.split("\n\n")
    assert "Answer: $Answer" in first and '"Answer:"' in last
    assert (question, nothing) == ("1+1?", "")
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    assert AnswerLine().render("1+1?", tokenizer) == f"[user]{plain.strip()}"
    assert AnswerLine(["<eos>"]).stop_tokens == ("<eos>",)


def test_ones_own_template(tokenizer):
    template = Custom(r"Q: {question} {x} {question} Box it: \boxed{}", ("<eos>",))
    assert template.render("{1+1}", tokenizer) == r"Q: {1+1} {x} {1+1} Box it: \boxed{}"
    with pytest.raises(ValueError, match=r"needs \{question\} in it, got 'Q: '"):
        Custom("Q: ")


def test_what_templates_ask_for():
    asked = [t.answer for t in (R1(), ChatMLBox(), AnswerLine(), Plain(), Custom("{question}"))]
    assert asked == ["box", "box", "line", None, None]


def test_both_stop_tokens_stop():
    tokenizer = TinyQwen2().tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>", "<|endoftext|>"]})
    encoder = PromptEncoder(tokenizer, ChatMLBox(), 8)
    names = tokenizer.convert_ids_to_tokens(encoder.stop_ids)
    assert set(names) == {"<|im_end|>", "<|endoftext|>", "<eos>"}


def test_a_tokenizer_without_eos_is_refused():
    tokenizer = TinyQwen2().tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="has no eos token"):
        PromptEncoder(tokenizer, Plain(), 8)


def test_pass_rates_are_a_warm_start(model_folder, tmp_path):
    data = make_data()
    make_trainer(tmp_path, 4).fit(make_module(model_folder, verifier=EvenIsRight()), data)
    data.save_pass_rates(tmp_path / "rates.json")
    saved = json.loads((tmp_path / "rates.json").read_text())
    assert len(saved) == int((data.table.visits > 0).sum()) > 4
    again = make_data(warm_start=str(tmp_path / "rates.json"))
    again.trainer = data.trainer
    again.setup("fit")
    assert torch.equal(again.table.pass_rates, data.table.pass_rates)
    assert torch.equal(again.sampler.weights, again.curriculum.weights(data.table))
    other = make_data(warm_start=str(tmp_path / "rates.json"))
    (tmp_path / "rates.json").write_text('{"nobody": [0.5, 1]}')
    other.trainer = data.trainer
    with pytest.raises(ValueError, match="has no question of this pool"):
        other.setup("fit")


def test_state_round_trip_and_another_pool(model_folder, tmp_path):
    data = make_data(refresh="step")
    make_trainer(tmp_path, 3).fit(make_module(model_folder), data)
    state = data.state_dict()
    other = make_data(refresh="step", seed=5)
    other.trainer = data.trainer
    other.setup("fit")
    other.load_state_dict(state)
    assert (other.step, other.sampler.step, other.seed) == (3, 3, 0)
    assert torch.equal(other.sampler.weights, data.sampler.weights)
    assert other.sampler.draw(3) == data.sampler.draw(3)
    stranger = make_data()
    stranger.train.per_cell = 2
    stranger.trainer = data.trainer
    stranger.setup("fit")
    with pytest.raises(ValueError, match="made with pool"):
        stranger.load_state_dict(state)


def test_supervised_learning_learns(tmp_path):
    shape = TinyQwen2(hidden_size=32, layers=1, intermediate_size=64)
    settings = EvaluationSettings(2, [1], Sampling(max_new_tokens=8))
    module = SupervisedModule(
        from_scratch=shape, max_prompt_tokens=32, warmup_steps=5, evaluation=settings
    )
    data = SupervisedDataModule(val={}, batch_size=8)
    losses = []

    class Losses(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            assert isinstance(batch, Sequences)
            losses.append(float(outputs["loss"]))

    trainer = make_trainer(tmp_path, 40, [Losses()], max_steps=40)
    trainer.fit(module, data)
    within(losses[0], math.log(21), 0.1)  # 21 tokens
    assert sum(losses[-5:]) / 5 < 0.75 * losses[0]
