import random
import re
from collections import Counter

import pytest

from rlkit.data.additions import carries_of, worked_sum
from rlkit.data.functions import FAMILIES, variants_of
from rlkit.data.tasks import load_demonstrations, load_tasks
from rlkit.errors import DataError
from rlkit.recipe.schema import DataKeys


def tasks(path, split="train", seed=0, **keys):
    return load_tasks(DataKeys(path=f"builtin:{path}", split=split, **keys), seed=seed).tasks


def demos(path, split="train", seed=0):
    return load_demonstrations(DataKeys(path=f"builtin:{path}", split=split), seed=seed).demonstrations


@pytest.mark.parametrize("name", ["arithmetic", "functions", "quickstart", "quickstart-demos"])
def test_sources_have_their_rows_and_no_heldout_prompt_is_in_train(name):
    train = tasks(name) + tasks(name, seed=1)
    heldout = tasks(name, "heldout") + tasks(name, "heldout", seed=5)
    assert (len(train), len(heldout)) == (8000, 512)
    assert not {t.prompt for t in train} & {t.prompt for t in heldout}
    assert len({t.prompt for t in train[:4000]}) == 4000
    assert all((t.prompt + str(t.reference)).isascii() for t in train)


def test_no_addition_is_held_out_in_one_order_and_trained_in_the_other():
    def sums(split):
        return {tuple(sorted(re.findall(r"\d+", t.prompt))) for t in tasks("arithmetic?rows=4000", split)}

    assert not sums("train") & sums("heldout")


def test_quickstart_is_two_additions_to_one_function_from_the_first_rows_on():
    assert Counter(t.kind for t in tasks("quickstart", max_rows=30)) == {"math": 20, "code": 10}
    assert Counter(t.metadata["domain"] for t in tasks("quickstart")) == {"addition": 2667, "functions": 1333}


def test_rows_are_a_function_of_the_seed():
    assert tasks("quickstart") == tasks("quickstart")
    assert tasks("quickstart") != tasks("quickstart", seed=1)


def test_column_steps_are_true_and_lead_to_the_sum_or_carry_too_often():
    assert worked_sum(348, 275) == ("8+5=13\n4+7+1=12\n3+2+1=6", "623")
    assert worked_sum(348, 241, always_carry=True) == ("8+1=9\n4+4+1=9\n3+2+1=6", "699")
    assert worked_sum(999, 1)[1] == "1000"
    assert [carries_of(348, 275), carries_of(111, 111), carries_of(999, 999), carries_of(900, 900)] == [2, 0, 2, 0]
    rng = random.Random(0)
    for _ in range(500):
        a, b = rng.randint(1, 9999), rng.randint(1, 9999)
        right, wrong = (worked_sum(a, b, always_carry=w) for w in (False, True))
        for line in (right[0] + "\n" + wrong[0]).split("\n"):
            left, _, value = line.partition("=")
            assert sum(map(int, left.split("+"))) == int(value)
        assert right[1] == str(a + b)
        assert (wrong == right) == (carries_of(a, b) == max(len(str(a)), len(str(b))) - 1)


def test_addition_demonstrations_are_wrong_as_often_as_asked():
    made = demos("arithmetic-demos?wrong=0.6&rows=2000")
    truth = {t.id: t.reference for t in tasks("arithmetic-demos?wrong=0.6&rows=2000")}
    with_carry = [d for d in made if d.metadata["difficulty"] < 2]
    right = sum(d.response.endswith(f"\n\\boxed{{{truth[d.id]}}}") for d in with_carry)
    assert right / len(with_carry) == pytest.approx(0.4, abs=0.04)
    pure = demos("arithmetic-demos?rows=300")
    assert all(d.response.endswith(f"\n\\boxed{{{sum(map(int, re.findall(r'[0-9]+', d.prompt)))}}}") for d in pure)


def passes(program: str, reference) -> bool:
    space: dict = {}
    exec(program, space)
    function = space[reference["entry_point"]]
    results = [function(*test["args"]) for test in reference["tests"]]
    return all(
        r == t["expected"] and type(r) is type(t["expected"]) for r, t in zip(results, reference["tests"], strict=True)
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_tests_tell_a_familys_right_body_from_its_slip(family):
    from rlkit.data.functions import _row

    for heldout in (False, True):
        variants = variants_of(family, heldout=heldout)
        assert variants
        for variant in variants[::7]:
            reference = _row(variant, slip=False)["reference"]
            assert len(reference["tests"]) >= 4
            assert passes(variant.program(family.right), reference)
            assert not passes(variant.program(family.slip), reference)


def test_function_demonstrations_slip_as_often_as_asked():
    made = demos("functions-demos?wrong=0.6&rows=1000")
    references = {t.id: t.reference for t in tasks("functions-demos?wrong=0.6&rows=1000")}
    right = 0
    for demo in made:
        match = re.fullmatch(r"<think>\n[^\n]+\n</think>\n```python\n(.*)\n```", demo.response, re.DOTALL)
        assert match
        right += passes(match[1], references[demo.id])
    assert right / len(made) == pytest.approx(0.4, abs=0.05)
    assert len({d.metadata["family"] for d in made}) == len(FAMILIES)


def test_replies_are_short_for_a_small_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = demos("quickstart-demos?wrong=0.6")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=384, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([d.prompt + d.response for d in made], trainer)
    lengths = sorted(len(bpe.encode(d.response).ids) for d in made)
    assert lengths[-1] <= 60


@pytest.mark.parametrize(
    ("path", "split", "message"),
    [
        ("arithmetik", "train", r"no built-in source 'arithmetik' \(did you mean 'arithmetic'\?\); there are arith"),
        ("quickstart", "held-out", r'no split "held-out" \(did you mean \'heldout\'\?\); it has train, heldout'),
        ("quickstart?row=3", "train", r"no parameter 'row' \(did you mean 'rows'\?\); it has rows, digits"),
        ("quickstart?wrong=0.5", "train", r"no parameter 'wrong'.*; it has rows, digits"),
        ("functions?digits=2", "train", "no parameter 'digits'.*; it has rows"),
        ("arithmetic?rows=many", "train", "rows=many is not a number"),
        ("arithmetic?rows=0", "train", "rows=0 is not between 1 and 1e"),
        ("arithmetic-demos?wrong=1.5", "train", "wrong=1.5 is not between 0 and 1"),
        ("arithmetic-demos?wrong=nan", "train", "wrong=nan is not between 0 and 1"),
        ("arithmetic?digits=1", "train", "has only [0-9]+ different rows, not 4000; lower rows="),
        ("functions?rows=50000", "train", "has only [0-9]+ different rows, not 50000; lower rows="),
    ],
)
def test_wrong_names_and_parameters_name_the_nearest(path, split, message):
    with pytest.raises(DataError, match=message):
        tasks(path, split)


def test_digits_set_the_size_of_the_numbers():
    assert all(len(n) == 5 for t in tasks("arithmetic?digits=5&rows=50") for n in re.findall(r"\d+", t.prompt))


def test_tasks_hold_no_replies_and_are_no_demonstrations():
    assert "response" not in tasks("quickstart", max_rows=1)[0].metadata
    with pytest.raises(DataError, match="no response to learn from"):
        demos("quickstart")
