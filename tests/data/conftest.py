import gzip
import json
import os
from pathlib import Path

import pytest

from rlkit.data.tasks import LoadedTasks, load_tasks
from rlkit.recipe.schema import DataKeys


@pytest.fixture
def write(tmp_path):
    """write("a.jsonl", [rows] | text | bytes) -> its path."""

    def make(name: str, content) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "\n".join(json.dumps(row) for row in content) + "\n"
        raw = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return make


@pytest.fixture
def load():
    """load(path, **keys of data) -> LoadedTasks."""

    def run(path, **keys) -> LoadedTasks:
        return load_tasks(DataKeys.model_validate({"path": str(path), **keys}), seed=0)

    return run


@pytest.fixture
def real():
    """real("mbpp.jsonl") -> a real data file, or skips."""
    folder = Path(os.environ.get("RLKIT_DATA_DIR") or Path(__file__).parents[2] / "../shared/data")

    def find(name: str) -> Path:
        if not (folder / name).exists():
            pytest.skip(f"{name} is not in {folder}")
        return folder / name

    return find


@pytest.fixture(scope="session")
def make_tokenizer():
    """make_tokenizer(chat_template) -> a byte-level BPE that has seen a little text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|end|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = ["What is 348 + 275?", "<think>\n8+5=13\n</think>\n\\boxed{623}", "Put the final answer in \\boxed{}."]
    bpe.train_from_iterator(texts * 5, trainer)

    def make(template: str | None):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>")
        tokenizer.chat_template = template
        return tokenizer

    return make
