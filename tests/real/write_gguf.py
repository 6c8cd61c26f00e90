"""Write a small model as a GGUF file, as llama.cpp's own converter lays it out."""

import json

import gguf
import torch
from small_tokenizers import EOS, TURN, byte_level
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
KINDS = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>\n{% endfor %}<assistant>"


def small_model(kind, tied=False):
    """A random model of the kind, and a tokenizer."""
    torch.manual_seed(3)
    tokenizer = byte_level(bos=False)
    config, model = KINDS[kind]
    made = model(config(vocab_size=len(tokenizer), tie_word_embeddings=tied, **SHAPE))
    for name, weight in made.named_parameters():
        if weight.ndim == 1:  # norms of 1 and biases of 0 would hide that they were not read
            torch.nn.init.normal_(weight.data, mean=1.0 if "norm" in name else 0.0, std=0.2)
    return made.eval(), tokenizer


def write(path, model, tokenizer, packed=None, chat=CHAT, spoil=None):
    """Write the file; ``packed`` is the type of all matrices, ``spoil`` a change of the writer."""
    kind = model.config.model_type
    writer = gguf.GGUFWriter(path, kind)
    _settings(writer, model.config)
    writer.add_tokenizer_pre({"llama": "gpt-2", "qwen2": "qwen2"}[kind])
    _vocabulary(writer, tokenizer, chat)
    names = gguf.get_tensor_name_map(
        next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == kind),
        model.config.num_hidden_layers,
    )
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        if kind == "llama":
            weight = _turned(name, weight, model.config)
        as_gguf = names.get_name(name, try_suffixes=(".weight", ".bias"))
        values = weight.contiguous().numpy()
        if packed is not None and values.ndim == 2:
            writer.add_tensor(as_gguf, gguf.quants.quantize(values, packed), raw_dtype=packed)
        else:
            writer.add_tensor(as_gguf, values)
    if spoil is not None:
        spoil(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _turned(name, weight, config):
    """llama.cpp keeps the two halves of a head's rotated pairs side by side."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, count in heads.items():
        if part in name:
            rows = weight.shape[0] // count // 2
            return weight.view(count, 2, rows, -1).swapaxes(1, 2).reshape(weight.shape)
    return weight


def _settings(writer, config):
    writer.add_name("A small model")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)


def _vocabulary(writer, tokenizer, chat):
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_eos_token_id(tokenizer.convert_tokens_to_ids(TURN))
    writer.add_pad_token_id(tokenizer.convert_tokens_to_ids(EOS))
    if chat is not None:
        writer.add_chat_template(chat)
