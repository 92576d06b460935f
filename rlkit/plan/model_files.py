"""A model's folder, read in an instant: whether it is whole, and which layers it has. Nothing is loaded."""

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
"""Files of which a folder with a tokenizer holds one."""
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
NO_CHAT_TEMPLATE = (
    "has a tokenizer without a chat template: take a model that has one, or put a chat_template.jinja file into its "
    "folder"
)
LINEARS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MLP_LINEARS = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def check_models(loaded: LoadedRecipe) -> None:
    """Refuses model folders that lack a file, and adapters for layers that the model does not have.

    A Hub name is left to whoever downloads it.

    Raises:
        RecipeError: naming the key, what is missing and what to do.
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
    """Why a folder is no whole model, as the end of a sentence that begins with its path; None where it is one.

    Args:
        folder: A folder that exists.
        is_policy: False: a critic, which needs no tokenizer and has one label.
    """
    if not (folder / CONFIG).is_file():
        inner = next((p.parent for p in sorted(folder.glob(f"*/{CONFIG}"))), None)
        hint = f"; {inner} is one" if inner is not None else ": give a folder that save_pretrained wrote"
        return f"is no model folder: it has no {CONFIG}{hint}"
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        return f"cannot be used: its {CONFIG} cannot be read ({e})"
    if not isinstance(config, dict) or not config.get("model_type"):
        return f"cannot be used: its {CONFIG} names no model_type"
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
            return f"is not whole: its {index.name} names {missing[0]}{more}, which is not there; copy it again"
    if not any(True for pattern in WEIGHTS for _ in folder.glob(pattern)):
        return "holds no weights (*.safetensors or pytorch_model.bin): copy them too"
    for file in sorted(folder.glob("*.safetensors")):
        try:
            header, start = read_header(file)
            end = start + max((t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"), default=0)
        except (OSError, ValueError, KeyError, TypeError, IndexError, struct.error) as e:
            return f"cannot be used: its {file.name} is no safetensors file ({e}); copy it again"
        if file.stat().st_size < end:
            return f"is not whole: its {file.name} has {file.stat().st_size} of {end} bytes; copy it again"
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
        return f"has {labels} labels, and a critic's value needs exactly one: take a reward model with one label"
    return None


def linear_layers(model: ModelKeys) -> dict[str, bool] | None:
    """Names of a model's linear layers, and whether an adapter can be put on each; None where they cannot be told.

    Embeddings and the output layer are among them: they have none of their own.
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
    """Why adapters cannot be put where target_modules says; None where they can, or only the loaded model can tell."""
    if lora.target_modules == "all-linear":
        return None
    known = sorted({name.rpartition(".")[2] for name, adaptable in layers.items() if adaptable})
    there = f"it has {', '.join(known)}"
    if isinstance(lora.target_modules, str):
        try:
            # The loaded model's names may have another beginning.
            pattern = re.compile(rf"(?:.*\.)?(?:{lora.target_modules})")
        except re.error as e:
            return f"{lora.target_modules!r} is no regular expression ({e}): give a list of names; {there}"
        suffixes = (name[at:] for name in layers for at in [0, *(m.end() for m in re.finditer(r"\.", name))])
        if any(pattern.fullmatch(suffix) for suffix in suffixes):
            return None
        return f"{lora.target_modules!r} matches no layer of the model: {there}"
    for target in lora.target_modules:
        found = [name for name in layers if name == target or name.endswith(f".{target}")]
        if not found:
            return f"no layer of the model is named {target!r}{did_you_mean(target, known)}; {there}"
        if not any(layers[name] for name in found):
            return f"{target!r} is an embedding, which takes no adapter here: remove it; {there}"
    return None if lora.target_modules else f"an empty list names no layer: leave the key out for all of them; {there}"
