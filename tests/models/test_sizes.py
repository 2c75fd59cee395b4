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


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (
            {"model_type": "mamba", "num_hidden_layers": 24, "hidden_size": 768, "vocab_size": 50280},
            "mamba-130m",
        ),
        (
            {
                "model_type": "mamba2",
                "num_hidden_layers": 24,
                "hidden_size": 768,
                "vocab_size": 50288,
                "num_heads": 24,
                "head_dim": 64,
                "state_size": 128,
                "n_groups": 1,
                "tie_word_embeddings": True,
            },
            "mamba2-130m",
        ),
        (
            {
                "model_type": "transnormer",
                "decoder_layers": 16,
                "hidden_size": 2048,
                "decoder_attention_heads": 16,
                "glu_dim": 5632,
                "vocab_size": 64000,
            },
            "tnl-1b",
        ),
        (
            {
                "model_type": "gla",
                "num_hidden_layers": 24,
                "hidden_size": 2048,
                "num_heads": 4,
                "intermediate_size": 5632,
                "vocab_size": 32000,
                "tie_word_embeddings": True,
            },
            "gla-1.3b",
        ),
    ],
)
def test_configurations_of_other_families(tmp_path, config, name):
    assert models.load(write(tmp_path, **config)).parameters == models.load(name).parameters


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
    path.write_text("{")
    with pytest.raises(UsageError, match="no valid JSON"):
        models.load(str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        models.load(str(tmp_path / "absent.json"))
