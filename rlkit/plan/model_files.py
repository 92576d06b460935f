"""Checks that a model folder is complete and lists its layers, from file headers alone. Does not load the model."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlkit.errors import did_you_mean
from rlkit.plan.model_size import read_header
from rlkit.recipe.file_checks import model_paths
from rlkit.recipe.load import LoadedRecipe
from rlkit.recipe.positions import dotted
from rlkit.recipe.schema import LoraKeys, ModelKeys

CONFIG = "config.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
"""Every tokenizer has at least one of these files."""
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
NO_CHAT_TEMPLATE = (
    "has a tokenizer without a chat template: use a model that has one, or put a chat_template.jinja file into its "
    "folder"
)
LINEARS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MLP_LINEARS = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def check_models(loaded: LoadedRecipe) -> None:
    """Checks that model folders are complete, and that the model has the layers that get adapters.

    Does not check models on the Hub.

    Raises:
        RecipeError: A file or layer is missing.
    """
    for key, text in model_paths(loaded.recipe):
        folder = Path(text)
        problem = folder_problem(folder, is_policy=key == ("model", "path")) if folder.is_dir() else None
        if problem is not None:
            raise loaded.error(dotted(key), f"{text} {problem}")
    lora = loaded.recipe.learner.lora
    layers = linear_layers(loaded.recipe.model) if lora is not None else None
    if lora is not None and layers is not None:
        problem = target_problem(lora, layers)
        if problem is not None:
            raise loaded.error("learner.lora.target_modules", problem)


def folder_problem(folder: Path, *, is_policy: bool) -> str | None:
    """The problem with a model folder, as the end of a sentence that begins with its path; None if there is none.

    Args:
        folder: A folder that exists.
        is_policy: True: the model needs a tokenizer. False: it is a critic, which needs exactly one label.
    """
    if not (folder / CONFIG).is_file():
        inner = next((p.parent for p in sorted(folder.glob(f"*/{CONFIG}"))), None)
        hint = f"; {inner} has one" if inner is not None else ": give a folder that save_pretrained wrote"
        return f"is not a model folder: it has no {CONFIG}{hint}"
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        return f"cannot be used: its {CONFIG} cannot be read ({e})"
    if not isinstance(config, dict) or not config.get("model_type"):
        return f"cannot be used: its {CONFIG} has no model_type"
    return _weights_problem(folder) or (_tokenizer_problem(folder) if is_policy else _critic_problem(config))


def _weights_problem(folder: Path) -> str | None:
    for index in sorted(folder.glob("*.index.json")):
        try:
            parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as e:
            return f"cannot be used: its {index.name} cannot be read ({type(e).__name__}: {e})"
        missing = sorted(part for part in parts if not (folder / str(part)).is_file())
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return f"is incomplete: its {index.name} lists {missing[0]}{more}, which is missing; copy it again"
    if not any(True for pattern in WEIGHTS for _ in folder.glob(pattern)):
        return "has no weights (*.safetensors or pytorch_model.bin): copy them too"
    for file in sorted(folder.glob("*.safetensors")):
        try:
            header, start = read_header(file)
            end = start + max((t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"), default=0)
        except (OSError, ValueError, KeyError, TypeError, IndexError, struct.error) as e:
            return f"cannot be used: its {file.name} is not a safetensors file ({e}); copy it again"
        if file.stat().st_size < end:
            return f"is incomplete: its {file.name} has {file.stat().st_size} of {end} bytes; copy it again"
    return None


def _tokenizer_problem(folder: Path) -> str | None:
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return f"has no tokenizer ({', '.join(TOKENIZERS[:3])}, ...): copy the tokenizer's files into it too"
    if (folder / "chat_template.jinja").is_file() or any(folder.glob("*chat_template*")):
        return None
    try:
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        tokenizer = {}
    return None if tokenizer.get("chat_template") else NO_CHAT_TEMPLATE


def _critic_problem(config: Mapping[str, Any]) -> str | None:
    is_classifier = any("SequenceClassification" in str(name) for name in config.get("architectures") or ())
    labels = len(config["id2label"]) if isinstance(config.get("id2label"), dict) else config.get("num_labels", 2)
    if is_classifier and labels != 1:
        return f"has {labels} labels, and a critic needs exactly one: use a reward model with one label"
    return None


def linear_layers(model: ModelKeys) -> dict[str, bool] | None:
    """Names of a model's matrices, with whether an adapter can be put on each; None if the files cannot be read.

    Embeddings, which cannot have adapters, are included.
    """
    if model.init is not None:
        names = [f"model.layers.{i}.{part}" for i in range(model.init.num_layers) for part in LINEARS + MLP_LINEARS]
        return dict.fromkeys(names, True) | {"model.embed_tokens": False}
    folder = Path(str(model.path))
    files = sorted(folder.glob("*.safetensors"))
    try:
        tensors = {name: t for file in files for name, t in read_header(file)[0].items() if name != "__metadata__"}
        matrices = [name.removesuffix(".weight") for name, t in tensors.items() if len(t["shape"]) == 2]
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    return {name: not re.search(r"(^|\.)(embed\w*|wte|wpe)$", name) for name in matrices} or None


def target_problem(lora: LoraKeys, layers: Mapping[str, bool]) -> str | None:
    """Why target_modules matches no layer that can have an adapter; None if it may match one."""
    if lora.target_modules == "all-linear":
        return None
    known = sorted({name.rpartition(".")[2] for name, adaptable in layers.items() if adaptable})
    there = f"it has {', '.join(known)}"
    if isinstance(lora.target_modules, str):
        try:
            # In the loaded model, the names may have another prefix.
            pattern = re.compile(rf"(?:.*\.)?(?:{lora.target_modules})")
        except re.error as e:
            return f"{lora.target_modules!r} is not a regular expression ({e}): give a list of names; {there}"
        suffixes = (name[start:] for name in layers for start in [0, *(m.end() for m in re.finditer(r"\.", name))])
        if any(pattern.fullmatch(suffix) for suffix in suffixes):
            return None
        return f"{lora.target_modules!r} matches no layer of the model: {there}"
    for target in lora.target_modules:
        found = [name for name in layers if name == target or name.endswith(f".{target}")]
        if not found:
            return f"no layer of the model is named {target!r}{did_you_mean(target, known)}; {there}"
        if not any(layers[name] for name in found):
            return f"{target!r} is an embedding, which cannot have an adapter: remove it; {there}"
    return None if lora.target_modules else f"the list is empty: leave the key out to adapt all layers; {there}"
