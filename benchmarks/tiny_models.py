"""Configurations of random models of 50,000 parameters: one for each way to build a causal LM.

``tiny_config("qwen3", tokenizer)`` makes one. A new architecture is a line in :data:`MODELS`.
"""

from typing import Any

from transformers import AutoConfig

# Most classes take these names; a class that does not know one ignores it.
COMMON = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_ROPE = {"rope_theta": 1000.0}
_WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_DELTA = {
    "num_hidden_layers": 4,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
}
_SCAN = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
}
_LONG = {
    "rope_type": "longrope",
    "partial_rotary_factor": 1.0,
    "original_max_position_embeddings": 128,
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 2.0, 8.0, 30.0],
} | _ROPE
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64} | _ROPE
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
} | _ROPE
_SIGHT = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}

# Name: (model_type, what differs from COMMON). A key "text_config" is completed by COMMON as well.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"tie_word_embeddings": True}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, llama3 rope": ("llama", {"rope_parameters": _LLAMA3}),
    "llama, yarn": ("llama", {"rope_parameters": _YARN}),
    "llama, dynamic rope": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0} | _ROPE},
    ),
    "qwen2": ("qwen2", {}),
    "qwen2, window": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1} | _WINDOWS),
    "qwen3": ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral, window": ("mistral", {"sliding_window": 8}),
    "ministral": ("ministral", {"head_dim": 8} | _WINDOWS),
    "ministral3": ("ministral3", {"head_dim": 8, "sliding_window": None}),
    "phi": ("phi", {}),
    "phi3": ("phi3", {"sliding_window": None}),
    "phi3, longrope": (
        "phi3",
        {
            "num_key_value_heads": 4,
            "sliding_window": None,
            "original_max_position_embeddings": 128,
            "rope_parameters": _LONG,
        },
    ),
    "phimoe": ("phimoe", {"num_local_experts": 4, "sliding_window": None}),
    "gemma": ("gemma", {"head_dim": 8}),
    "gemma2": ("gemma2", {"head_dim": 8}),
    "gemma2, attention cap": (
        "gemma2",
        {"head_dim": 8, "final_logit_softcapping": None, "attn_logit_softcapping": 2.0},
    ),
    "gemma3_text": ("gemma3_text", {"head_dim": 8} | _WINDOWS),
    "gemma3": (
        "gemma3",
        {
            "text_config": {"head_dim": 8} | _WINDOWS,
            "vision_config": _SIGHT,
            "mm_tokens_per_image": 4,
        },
    ),
    "gemma3n_text": (
        "gemma3n_text",
        {
            "head_dim": 8,
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 0,
            "laurel_rank": 4,
            "activation_sparsity_pattern": [0.5, 0.0],
            "vocab_size_per_layer_input": 32,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "gemma4_text": (
        "gemma4_text",
        {
            "head_dim": 8,
            "global_head_dim": 8,
            "hidden_size_per_layer_input": 0,
            "num_kv_shared_layers": 0,
            "num_hidden_layers": 2,
        }
        | _WINDOWS,
    ),
    "vaultgemma": ("vaultgemma", {"head_dim": 8}),
    "gpt2": (
        "gpt2",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    ),
    "gpt_neo": (
        "gpt_neo",
        {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    ),
    "gpt_neox": ("gpt_neox", {}),
    "gpt_bigcode": ("gpt_bigcode", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    "gptj": ("gptj", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}),
    "codegen": ("codegen", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}),
    "bloom": ("bloom", {"n_layer": 2, "n_head": 4}),
    "mpt": ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256}),
    "opt": ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 16, "init_std": 0.2}),
    "falcon": ("falcon", {"alibi": False, "new_decoder_architecture": False}),
    "falcon, alibi": ("falcon", {"alibi": True}),
    "xglm": (
        "xglm",
        {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4, "init_std": 0.2},
    ),
    "biogpt": ("biogpt", {}),
    "persimmon": ("persimmon", {}),
    "stablelm": ("stablelm", {}),
    "starcoder2": ("starcoder2", {"sliding_window": None}),
    "nemotron": ("nemotron", {}),
    "cohere": ("cohere", {}),
    "cohere2": ("cohere2", {"head_dim": 8} | _WINDOWS),
    "granite": ("granite", {"logits_scaling": 4.0}),
    "granite, multipliers": (
        "granite",
        {"logits_scaling": 1.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    ),
    "granitemoe": ("granitemoe", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "granitemoehybrid": (
        "granitemoehybrid",
        {
            "num_local_experts": 0,
            "shared_intermediate_size": 32,
            "layer_types": ["mamba", "attention"],
        }
        | _SCAN,
    ),
    "olmo": ("olmo", {}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", _WINDOWS),
    "olmoe": ("olmoe", {"num_experts": 4, "num_experts_per_tok": 2}),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0]}),
    "glm": ("glm", {"head_dim": 8}),
    "glm4": ("glm4", {"head_dim": 8}),
    "helium": ("helium", {"head_dim": 8}),
    "arcee": ("arcee", {}),
    "apertus": ("apertus", {}),
    "seed_oss": ("seed_oss", {"head_dim": 8}),
    "ernie4_5": ("ernie4_5", {"head_dim": 8}),
    "exaone4": ("exaone4", _WINDOWS),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", {"head_dim": 8}),
    "diffllama": ("diffllama", {"num_key_value_heads": 2}),
    "bitnet": ("bitnet", {}),
    "minicpm3": ("minicpm3", _LATENT | {"num_hidden_layers": 2}),
    "nanochat": ("nanochat", {}),
    "qwen2_moe": (
        "qwen2_moe",
        {"num_experts": 4, "shared_expert_intermediate_size": 16} | EXPERTS,
    ),
    "qwen3_moe": ("qwen3_moe", {"head_dim": 8, "num_experts": 4} | EXPERTS),
    "mixtral": ("mixtral", {"num_local_experts": 4, "sliding_window": None}),
    "gpt_oss": ("gpt_oss", {"head_dim": 8, "num_local_experts": 4, "sliding_window": 8} | EXPERTS),
    "deepseek_v2": (
        "deepseek_v2",
        {
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        }
        | EXPERTS
        | _LATENT,
    ),
    "deepseek_v3": (
        "deepseek_v3",
        {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
        | EXPERTS
        | _LATENT,
    ),
    "glm4_moe": (
        "glm4_moe",
        {
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "head_dim": 8,
        }
        | EXPERTS,
    ),
    "llama4_text": (
        "llama4_text",
        {
            "head_dim": 8,
            "intermediate_size_mlp": 64,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "attention_chunk_size": 8,
            "no_rope_layers": [1, 0],
            "interleave_moe_layer_step": 2,
        },
    ),
    "minimax_m2": (
        "minimax_m2",
        {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "jetmoe": ("jetmoe", {"kv_channels": 8, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "dbrx": (
        "dbrx",
        {
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 256,
            "attn_config": {"kv_n_heads": 2, "rope_theta": 1000.0, "clip_qkv": 8.0},
            "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
        },
    ),
    # Recurrent layers and hybrids.
    "mamba": ("mamba", {"state_size": 8}),
    "mamba2": (
        "mamba2",
        {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    ),
    "falcon_mamba": ("falcon_mamba", {"state_size": 8}),
    "falcon_h1": (
        "falcon_h1",
        _SCAN | {"mamba_d_ssm": 32, "mamba_n_heads": 4, "lm_head_multiplier": 0.25},
    ),
    "falcon_h1, no multiplier": (
        "falcon_h1",
        _SCAN | {"mamba_d_ssm": 32, "mamba_n_heads": 4, "lm_head_multiplier": 1.0},
    ),
    "bamba": ("bamba", _SCAN | {"attn_layer_indices": [1]}),
    "jamba": (
        "jamba",
        {
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "num_experts": 4,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "zamba2": (
        "zamba2",
        {
            "num_hidden_layers": 4,
            "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
            "hybrid_layer_ids": [1, 3],
            "mamba_d_state": 8,
            "mamba_ngroups": 1,
            "n_mamba_heads": 8,
            "mamba_headdim": 8,
            "num_mem_blocks": 1,
            "adapter_rank": 4,
            "chunk_size": 8,
            "num_key_value_heads": 4,
            "attention_head_dim": 16,
            "use_mamba_kernels": False,
        },
    ),
    "nemotron_h": (
        "nemotron_h",
        {
            "layers_block_type": ["mamba", "attention", "mlp"],
            "num_hidden_layers": 3,
            "head_dim": 8,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 1,
            "chunk_size": 8,
            "use_mamba_kernels": False,
        },
    ),
    "lfm2": (
        "lfm2",
        {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    ),
    "recurrent_gemma": (
        "recurrent_gemma",
        {
            "num_hidden_layers": 3,
            "lru_width": 32,
            "attention_window_size": 8,
            "num_key_value_heads": 1,
        },
    ),
    "minimax": (
        "minimax",
        {
            "head_dim": 8,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "layer_types": ["linear_attention", "full_attention"],
            "block_size": 8,
        },
    ),
    "qwen3_next": (
        "qwen3_next",
        {"head_dim": 8, "num_experts": 4, "shared_expert_intermediate_size": 16} | EXPERTS | _DELTA,
    ),
    "qwen3_5_text": ("qwen3_5_text", {"head_dim": 16} | _DELTA),
    "olmo_hybrid": ("olmo_hybrid", _DELTA),
    "kimi_linear": (
        "kimi_linear",
        {
            "num_local_experts": 4,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_head_dim": 8,
            "linear_num_heads": 4,
        }
        | EXPERTS
        | _LATENT
        | {"q_lora_rank": None},
    ),
    "rwkv": ("rwkv", {"attention_hidden_size": 32, "context_length": 256}),
    "xlstm": (
        "xlstm",
        {"num_blocks": 2, "num_heads": 4, "head_dim": 8, "chunk_size": 8, "embedding_dim": 32},
    ),
    # Not causal, and not language models alone.
    "bert": ("bert", {"is_decoder": False}),
    "bert, decoder": ("bert", {"is_decoder": True}),
    "bart": (
        "bart",
        {
            "d_model": 32,
            "decoder_layers": 2,
            "encoder_layers": 1,
            "decoder_ffn_dim": 64,
            "encoder_ffn_dim": 64,
            "decoder_attention_heads": 4,
            "encoder_attention_heads": 4,
            "init_std": 0.2,
        },
    ),
    "openai-gpt": ("openai-gpt", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    "ctrl": ("ctrl", {"n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 64, "n_positions": 256}),
}


def tiny_config(name: str, tokenizer: Any) -> Any:
    """A configuration of :data:`MODELS` for a tokenizer's vocabulary.

    Args:
        name: of the entry.
        tokenizer: gives the vocabulary's size and the special ids.
    """
    kind, settings = MODELS[name]
    words = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.eos_token_id,
    }
    if "text_config" in settings:
        inner = settings | {"text_config": COMMON | words | settings["text_config"]}
        return AutoConfig.for_model(kind, **inner)
    return AutoConfig.for_model(kind, **(COMMON | words | settings))
