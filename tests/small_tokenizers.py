"""Two small tokenizers of the kinds that real models have: byte-level BPE, and SentencePiece."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BOS, EOS, TURN = "<s>", "</s>", "<|im_end|>"
TEXT = "Q: what is 4 + 2?\n\nA: the answer is 6.\n</answer>\n"
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>\n{% endfor %}"


def byte_level(bos=True, eos_too=False):
    """``\\n`` is one token, and a part of ``.\\n``; ``</answer>`` is three."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        [TEXT] * 50,
        trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=[BOS, EOS, TURN],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return _whole(made, bos, eos_too)


def sentencepiece(bos=True):
    """Spaces are ▁, written in front of every text; ``\\n`` is the byte ``<0x0A>``."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789<>/+?.:QA"
    pieces = [("<unk>", 0.0), (BOS, 0.0), (EOS, 0.0)]
    pieces += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    pieces += [("▁", -3.0), ("▁Q", -2.0), ("▁the", -1.0), *((letter, -5.0) for letter in letters)]
    made = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    made.add_special_tokens([TURN])
    return _whole(made, bos, unk_token="<unk>")


def _whole(made, bos, eos_too=False, **options):
    if bos:
        ids = [(token, made.token_to_id(token)) for token in (BOS, EOS)]
        single = f"{BOS} $A {EOS}" if eos_too else f"{BOS} $A"
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[TURN],
        **options,
    )
