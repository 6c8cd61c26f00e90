r"""A 0.3 M parameter Qwen2 and its tokenizer, created on demand for the embedded world.

One token per character, except ``\boxed{``, which is a single token.
"""

from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

PAD, EOS, BOX = "<pad>", "<eos>", "\\boxed{"
_CHARACTERS = "0123456789+-*=?,x}"


@dataclass
class TinyQwen2:
    """The shape of a small Qwen2 with an untied LM head.

    Attributes:
        hidden_size: width.
        layers: decoder layers.
        heads: attention heads; with 3 they have 32 channels, as vLLM's CPU kernels require.
        kv_heads: key-value heads.
        intermediate_size: width of the MLP.
        max_positions: longest prompt + completion.
        initializer_range: standard deviation of the random weights.
    """

    hidden_size: int = 96
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    intermediate_size: int = 256
    max_positions: int = 256
    initializer_range: float = 0.02

    def tokenizer(self) -> Any:
        """A character tokenizer, of the class that loads a Qwen2 folder."""
        vocabulary = {token: i for i, token in enumerate([PAD, EOS, *_CHARACTERS])}
        tokenizer: Any = Qwen2Tokenizer(
            vocab=vocabulary, merges=[], unk_token=PAD, pad_token=PAD, eos_token=EOS
        )
        # Not a special token: decoding must keep it.
        tokenizer.add_tokens([AddedToken(BOX, normalized=False, special=False)])
        return tokenizer

    def model(self) -> Qwen2ForCausalLM:
        """The model with random weights from torch's global generator."""
        tokenizer = self.tokenizer()
        return Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokenizer),
                hidden_size=self.hidden_size,
                intermediate_size=self.intermediate_size,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                num_key_value_heads=self.kv_heads,
                max_position_embeddings=self.max_positions,
                initializer_range=self.initializer_range,
                rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
                tie_word_embeddings=False,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=None,
            )
        )
