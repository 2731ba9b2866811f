"""Families of transformers in configurations of two small layers."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.entry import Entry, Inputs, seeded, tokens

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import transformers  # reads the environment when it is imported

VOCABULARY, WIDTH, LAYERS, HEADS, INNER = 128, 64, 2, 4, 128

_BLOCKS = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
}
_ENCODER = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, **_BLOCKS}
_MARKS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_DECODER = {**_ENCODER, **_MARKS, "use_cache": False}
_GROUPED = {**_DECODER, "num_key_value_heads": 2}
_VISION = {**_BLOCKS, "image_size": 64, "patch_size": 16}


def build(model: str, config: str, options: dict[str, Any]) -> nn.Module:
    built: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**options))
    return built


def _text() -> Inputs:
    return {"input_ids": tokens(1, 16, below=VOCABULARY, at_least=3)}


def _text_to_text() -> Inputs:
    targets = tokens(1, 8, below=VOCABULARY, at_least=3)
    return {"input_ids": tokens(1, 16, below=VOCABULARY, at_least=3), "decoder_input_ids": targets}


def _sound() -> Inputs:
    return {"input_values": torch.randn(1, 4000, generator=seeded())}


def _pixels() -> Inputs:
    return {"pixel_values": torch.randn(1, 3, 64, 64, generator=seeded())}


def _text_and_pixels() -> Inputs:
    text = tokens(1, 16, below=VOCABULARY - 2, at_least=3)
    text[0, -1] = VOCABULARY - 1  # CLIP-like models read the text at its end token
    return {"input_ids": text, **_pixels()}  # type: ignore[dict-item]


def _entry(
    model: str, config: str, inputs: Callable[[], Inputs] = _text, /, **options: Any
) -> Entry:
    return Entry(partial(build, model, config, options), inputs)


def _encoder(family: str, task: str = "SequenceClassification", **options: Any) -> Entry:
    return _entry(f"{family}For{task}", f"{family}Config", **(_ENCODER | options))


def _decoder(family: str, **options: Any) -> Entry:
    return _entry(f"{family}ForCausalLM", f"{family}Config", **(_GROUPED | options))


ENTRIES = {
    "bert": _encoder("Bert"),
    "bert_mlm": _encoder("Bert", "MaskedLM"),
    "albert": _encoder("Albert", embedding_size=32),
    "electra": _encoder("Electra", embedding_size=32),
    "deberta_v2": _encoder("DebertaV2", relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "gpt2": _entry(
        *("GPT2LMHeadModel", "GPT2Config"),
        **{"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS},
        **{"n_positions": 64, "use_cache": False, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "opt": _entry(
        *("OPTForCausalLM", "OPTConfig"),
        **{"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS},
        **{"num_attention_heads": HEADS, "ffn_dim": INNER, "word_embed_proj_dim": WIDTH},
        **{"max_position_embeddings": 64, "use_cache": False},
    ),
    "llama": _decoder("Llama"),
    "mistral": _decoder("Mistral"),
    "qwen2": _decoder("Qwen2"),
    "qwen3": _decoder("Qwen3", head_dim=16),
    "gemma": _decoder("Gemma", head_dim=16),
    "gemma2": _decoder("Gemma2", head_dim=16),
    "phi": _entry("PhiForCausalLM", "PhiConfig", **_DECODER),
    "olmo2": _decoder("Olmo2"),
    "qwen3_moe": _decoder(
        "Qwen3Moe",
        **{"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1},
        **{"moe_intermediate_size": 32, "mlp_only_layers": []},
    ),
    "deepseek_v3": _decoder(
        "DeepseekV3",
        **{"num_key_value_heads": HEADS, "n_routed_experts": 4, "num_experts_per_tok": 2},
        **{"n_group": 2, "topk_group": 1, "moe_intermediate_size": 32, "n_shared_experts": 1},
        **{"first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16},
        **{"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16},
    ),
    "mamba": _entry(
        *("MambaForCausalLM", "MambaConfig"),
        **{"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS},
        **{"state_size": 8, "use_cache": False},
    ),
    "mamba2": _entry(
        *("Mamba2ForCausalLM", "Mamba2Config"),
        **{"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS},
        **{"state_size": 8, "num_heads": 8, "head_dim": 16, "n_groups": 2, "chunk_size": 8},
        use_cache=False,
    ),
    "t5": _entry(
        *("T5ForConditionalGeneration", "T5Config", _text_to_text),
        **{"vocab_size": VOCABULARY, "d_model": WIDTH, "d_kv": 16, "d_ff": INNER},
        **{"num_layers": LAYERS, "num_heads": HEADS},
        **{"use_cache": False, "decoder_start_token_id": 0},
    ),
    "wav2vec2": _entry(
        *("Wav2Vec2ForCTC", "Wav2Vec2Config", _sound),
        **{"vocab_size": 32, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16},
        **{"num_conv_pos_embedding_groups": 4, **_BLOCKS},
    ),
    "vit": _entry("ViTForImageClassification", "ViTConfig", _pixels, num_labels=10, **_VISION),
    "convnext": _entry(
        *("ConvNextForImageClassification", "ConvNextConfig", _pixels),
        **{"hidden_sizes": [16, 32, 32, 64], "depths": [1, 1, 1, 1], "num_labels": 10},
    ),
    "resnet": _entry(
        *("ResNetForImageClassification", "ResNetConfig", _pixels),
        **{"embedding_size": 16, "hidden_sizes": [16, 32, 64, 64], "depths": [1, 1, 1, 1]},
        **{"layer_type": "bottleneck", "num_labels": 10},
    ),
    "segformer": _entry(
        *("SegformerForSemanticSegmentation", "SegformerConfig", _pixels),
        **{"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1], "num_labels": 10},
        **{"num_attention_heads": [1, 2, 2, 4], "decoder_hidden_size": 32},
    ),
    "clip": _entry(
        *("CLIPModel", "CLIPConfig", _text_and_pixels),
        text_config=_ENCODER
        | {"max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1}
        | {"eos_token_id": VOCABULARY - 1},
        vision_config=_VISION,
        projection_dim=32,
    ),
}
ENTRIES = {f"hf/{name}": entry for name, entry in ENTRIES.items()}
