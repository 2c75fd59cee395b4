"""Models as data: published sizes, sizes of ours, configurations of HuggingFace."""

from __future__ import annotations

import json
from math import prod

import pytest

from lbench import backends, mechanisms, models
from lbench.errors import UsageError

TNL = {
    # arXiv 2405.17381 and its configurations: L (5 D^2 + 3 D glu) + V D, and for 15B with a gate of rank 16.
    "tnl-385m": 24 * (5 * 1024**2 + 3 * 1024 * 2816) + 50272 * 1024,
    "tnl-1b": 16 * (5 * 2048**2 + 3 * 2048 * 5632) + 64000 * 2048,
    "tnl-3b": 32 * (5 * 2560**2 + 3 * 2560 * 6912) + 64000 * 2560,
    "tnl-7b": 30 * (5 * 4096**2 + 3 * 4096 * 11008) + 64000 * 4096,
    "tnl-15b": 42 * (4 * 5120**2 + 2 * 16 * 5120 + 3 * 5120 * 15360) + 100280 * 5120,
}
PRINTED = {"tnl-385m": "0.385", "tnl-1b": "1.020", "tnl-3b": "2.911", "tnl-7b": "6.837", "tnl-15b": "14.833"}


@pytest.mark.parametrize("name", TNL)
def test_tnl_has_the_published_parameters_and_the_angles_of_its_first_layer(name):
    model = models.load(name)
    assert model.parameters == TNL[name] + model.width
    assert f"{model.parameters / 1e9:.3f}" == PRINTED[name]
    assert model.head_dim == 128


@pytest.mark.parametrize("name", [name for name in models.names() if models.load(name).published])
def test_published_counts_are_met_to_the_last_parameter(name):
    model = models.load(name)
    assert model.parameters == model.published


@pytest.mark.parametrize("size", ["385m", "1b", "3b", "15b"])
def test_llama_and_tnl_of_one_size_differ_by_less_than_a_percent(size):
    ours, theirs = (models.load(f"{family}-{size}").parameters for family in ("tnl", "llama"))
    assert abs(theirs / ours - 1) < 0.01


@pytest.mark.parametrize("name", models.names())
def test_a_model_names_known_mechanisms_and_backends(name):
    model = models.load(name)
    assert model.mechanism in mechanisms.names()
    assert f"{model.mechanism}_eager" in backends.names()
    default = models.DEFAULT_MIXERS.get(model.mechanism, f"{model.mechanism}_eager")
    assert backends.load(default).mechanism == model.mechanism
    assert model.heads % model.kv_heads == 0
    assert all(prod(shape) for layer in model.blocks for shape in layer.weights.values())


def write(folder, **config):
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return str(path)


LLAMA3_1B = {
    "model_type": "llama",
    "num_hidden_layers": 16,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 8192,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
    "rope_theta": 500000.0,
    "max_position_embeddings": 131072,
}


def test_a_config_json_gives_the_model_that_it_describes(tmp_path):
    model = models.load(write(tmp_path, **LLAMA3_1B))
    assert model.parameters == models.load("llama3-1b").parameters
    assert (model.kv_heads, model.rope_base, model.max_length) == (8, 500000.0, 131072)


MAMBA = {"model_type": "mamba", "num_hidden_layers": 24, "hidden_size": 768, "vocab_size": 50280}
MAMBA2 = {
    "model_type": "mamba2",
    "num_hidden_layers": 24,
    "hidden_size": 768,
    "vocab_size": 50288,
    "num_heads": 24,
    "head_dim": 64,
    "state_size": 128,
    "n_groups": 1,
    "tie_word_embeddings": True,
}
TNL_1B = {
    "model_type": "transnormer",
    "decoder_layers": 16,
    "hidden_size": 2048,
    "decoder_attention_heads": 16,
    "glu_dim": 5632,
    "vocab_size": 64000,
}
GLA = {
    "model_type": "gla",
    "num_hidden_layers": 24,
    "hidden_size": 2048,
    "num_heads": 4,
    "intermediate_size": 5632,
    "vocab_size": 32000,
    "tie_word_embeddings": True,
}
TNL_15B = {
    **TNL_1B,
    "decoder_layers": 42,
    "hidden_size": 5120,
    "decoder_attention_heads": 40,
    "glu_dim": 15360,
    "vocab_size": 100280,
    "gate_dim": 16,
}
RETNET = {**GLA, "model_type": "retnet"}
THREE_HEADS = {**LLAMA3_1B, "hidden_size": 64, "num_attention_heads": 3, "num_key_value_heads": 3}
QWEN2 = {**LLAMA3_1B, "model_type": "qwen2", "sliding_window": 4096}


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (MAMBA, "mamba-130m"),
        (MAMBA2, "mamba2-130m"),
        (TNL_1B, "tnl-1b"),
        (TNL_15B, "tnl-15b"),
        (GLA, "gla-1.3b"),
    ],
)
def test_configurations_of_other_families(tmp_path, config, name):
    given, named = models.load(write(tmp_path, **config)), models.load(name)
    assert given.parameters == named.parameters
    assert [layer.weights for layer in given.blocks] == [layer.weights for layer in named.blocks]
    assert (given.gate, given.activations) == (named.gate, named.activations)


@pytest.mark.parametrize(
    "changes",
    [{"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}, {"rope_theta": 500000.0}],
)
def test_the_base_of_the_rotation_is_read_in_either_of_its_places(tmp_path, changes):
    model = models.load(write(tmp_path, **{**LLAMA3_1B, "rope_theta": None, **changes}))
    assert model.rope_base == 500_000.0


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (MAMBA, {"expand": 4}),
        (MAMBA, {"tie_word_embeddings": False}),
        (MAMBA2, {"expand": 4, "num_heads": None}),
        (MAMBA2, {"tie_word_embeddings": False}),
        (GLA, {"tie_word_embeddings": False}),
        (GLA, {"expand_k": 1.0}),
        (LLAMA3_1B, {"tie_word_embeddings": False}),
    ],
)
def test_a_field_that_a_block_can_follow_changes_the_model(tmp_path, config, changes):
    whole, other = (models.load(write(tmp_path, **one)) for one in (config, config | changes))
    assert other.parameters > whole.parameters


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (LLAMA3_1B, {"hidden_act": "gelu"}, 'hidden_act is "gelu"; of llama only "silu" or "swish" can'),
        (LLAMA3_1B, {"attention_bias": True}, "attention_bias is true; of llama only false can be measured"),
        (LLAMA3_1B, {"mlp_bias": True}, "mlp_bias is true"),
        (
            LLAMA3_1B,
            {"model_type": "mistral", "sliding_window": 4096},
            "sliding_window is 4096; .* null",
        ),
        (QWEN2, {"use_sliding_window": True}, "sliding_window is 4096"),
        (QWEN2, {"model_type": "qwen3", "use_sliding_window": True}, "sliding_window is 4096"),
        (MAMBA, {"state_size": 32}, "state_size is 32; of mamba only 16 can"),
        (MAMBA, {"conv_kernel": 3}, "conv_kernel is 3"),
        (MAMBA, {"time_step_rank": 47}, 'time_step_rank is 47; of mamba only "auto" or 48 can'),
        (MAMBA2, {"conv_kernel": 2}, "conv_kernel is 2"),
        (MAMBA2, {"n_groups": None}, "n_groups is null, which HuggingFace takes for 8; of mamba2 only 1 can"),
        (MAMBA2, {"n_groups": 8}, "n_groups is 8; of mamba2 only 1 can"),
        (MAMBA2, {"expand": 3}, "24 heads of 64 dims are not the 2304 of expand x hidden_size"),
        (GLA, {"attn": {"layers": [1], "num_heads": 4}}, "attn is .*; of gla only null can"),
        (GLA, {"use_short_conv": True}, "use_short_conv is true"),
        (RETNET, {"use_output_gate": False}, "use_output_gate is false; of retnet only true can"),
        (RETNET, {"feature_map": "relu"}, 'feature_map is "relu"'),
        (LLAMA3_1B, {"rope_theta": "big"}, "rope_theta is 'big'; it must be a number above 0"),
        (LLAMA3_1B, {"rope_parameters": {"rope_theta": "big"}}, "rope_theta is 'big'"),
        (LLAMA3_1B, {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5; of llama only 1"),
        (TNL_15B, {"gate_dim": -1}, "gate_dim is -1"),
        (LLAMA3_1B, {"rope_theta": float("inf")}, "rope_theta is inf"),
        (LLAMA3_1B, {"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'; it must be true or false"),
        (LLAMA3_1B, {"vocab_size": 10**400}, "it must be whole, from 1 to 2"),
        (LLAMA3_1B, {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000; .* from 1 to 10,000"),
        (GLA, {"expand_k": "a"}, "expand_k is 'a'; it must be a number above 0"),
        (GLA, {"expand_k": 0}, "expand_k is 0; it must be a number above 0"),
        (GLA, {"expand_k": 0.3}, "width 614 cannot be split into 4 heads"),
        (MAMBA, {"expand": 1e-9}, "width 0 cannot be split"),
        (LLAMA3_1B, {"head_dim": 21}, "a head has 21 dims; RoPE turns pairs"),
        (RETNET, {"hidden_size": 72, "num_heads": 8}, "a head has 9 dims; RoPE turns pairs"),
        (THREE_HEADS, {"head_dim": None}, "width 64 cannot be split into 3 heads"),
        (
            QWEN2,
            {"layer_types": ["full_attention", "sliding_attention"]},
            'layer_types is .* times "full_attention"',
        ),
        (LLAMA3_1B, {"num_local_experts": 8}, "num_local_experts is 8; of llama only 1 can be measured"),
        (QWEN2, {"is_causal": False}, "describes no decoder"),
        (LLAMA3_1B, {"use_bidirectional_attention": True}, "describes no decoder"),
        (LLAMA3_1B, {"model_type": None}, "has no model_type"),
    ],
)
def test_a_field_that_no_block_can_follow_is_refused_by_name(tmp_path, config, changes, message):
    with pytest.raises(UsageError, match=message) as told:
        models.load(write(tmp_path, **config | changes))
    assert str(tmp_path) in str(told.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": None},
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        {"hidden_act": "silu", "attention_bias": False, "mlp_bias": None},
        {"model_type": "mistral", "sliding_window": None},
        {"model_type": "mistral", "sliding_window": 131072},
        {"model_type": "qwen2", "use_sliding_window": False, "sliding_window": 4096},
        {"model_type": "qwen3"},
        {"layer_types": ["full_attention"] * 16, "is_causal": True, "use_bidirectional_attention": False},
    ],
)
def test_fields_that_change_nothing_here_are_accepted(tmp_path, changes):
    model = models.load(write(tmp_path, **LLAMA3_1B | changes))
    assert model.parameters == models.load("llama3-1b").parameters
    assert model.rope_base in (500_000.0, 10_000.0)


def test_what_a_family_has_and_its_model_lacks_is_said(tmp_path):
    assert models.load(write(tmp_path, **QWEN2)).source == "config.json, without the biases of q, k and v"
    assert models.load(write(tmp_path, **LLAMA3_1B)).source == "config.json"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert", "hidden_size": 768}, "decoders with a block here are"),
        ({}, "no model_type"),
        ({**LLAMA3_1B, "is_encoder_decoder": True}, "no decoder"),
        ({**LLAMA3_1B, "hidden_size": "wide"}, "hidden_size is 'wide'"),
        ({**LLAMA3_1B, "num_key_value_heads": 5}, "cannot be shared"),
        ({name: value for name, value in LLAMA3_1B.items() if name != "vocab_size"}, "has no vocab_size"),
    ],
)
def test_a_config_json_that_is_of_no_use_is_told_in_one_line(tmp_path, config, message):
    with pytest.raises(UsageError, match=message) as told:
        models.load(write(tmp_path, **config))
    assert "\n" not in str(told.value)


def test_a_config_json_that_is_no_json(tmp_path):
    path = tmp_path / "broken.json"
    for text in ("{", "[" * 100_000, '{"a":' * 500 + "1" + "}" * 499):
        path.write_text(text)
        with pytest.raises(UsageError, match="no valid JSON"):
            models.load(str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        models.load(str(tmp_path / "absent.json"))
