import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.accuracy import Accuracy
from rewards.efficiency import Efficiency
from rewards.format import Format
from rewards.reasoning import Reasoning
from rlkit import Group, Sample, Score, Task

MATH = "<think>\n8+5=13\n7+4+1=12\n3+2+1=6\n</think>\n\\boxed{623}"
CODE = "<think>\nMultiply x by 3, then add 2.\n</think>\n```python\ndef f(x):\n    return x * 3 + 2\n```"
TESTS = {"mode": "function", "entry_point": "f", "tests": [{"args": [i], "expected": 3 * i + 2} for i in range(4)]}


def math_group(*responses, prompt="What is 348 + 275?", gold="623"):
    return Group(Task("t", "math", prompt, gold), tuple(Sample(f"t#{i}", r, 10) for i, r in enumerate(responses)))


def code_group(*responses, reference=TESTS):
    task = Task("t", "code", "Write f.", reference)
    return Group(task, tuple(Sample(f"t#{i}", r, 10) for i, r in enumerate(responses)))


def values(plugin, group):
    return [score.value for score in plugin.score(group)]


@pytest.fixture(scope="module")
def accuracy():
    return Accuracy()


def test_honest_right_replies_earn_nearly_everything(accuracy):
    for group in (math_group(MATH), code_group(CODE)):
        right = accuracy.score(group)
        assert right[0].value == 1
        assert values(Reasoning(), group)[0] > 0.9
        assert values(Format(), group) == [1.0]
        assert values(Efficiency(), Group(group.task, group.samples, {"accuracy": tuple(right)})) == [1.0]


@pytest.mark.parametrize(
    ("response", "value", "verdict"),
    [
        (MATH, 1.0, "correct"),
        (MATH.replace("623", "624"), 0.0, "wrong"),
        ("<think>\\boxed{623}", 0.0, "unparsable"),
        ("\\boxed{1000000000!}", 0.0, "wrong"),
        ("\\boxed{623.0}", 1.0, "correct"),
    ],
)
def test_math_accuracy(accuracy, response, value, verdict):
    (score,) = accuracy.score(math_group(response))
    assert (score.value, score.verdict) == (value, verdict)


@pytest.mark.parametrize(
    ("response", "value", "verdict"),
    [
        (CODE, 1.0, "pass"),
        (CODE.replace("x * 3", "x * 4"), 0.0, "fail"),
        ("def f(x): return 3 * x + 2", 0.0, "unparsable"),
        ("```python\nimport os\nos._exit(0)\n```", 0.0, "fail"),
    ],
)
def test_code_accuracy(accuracy, response, value, verdict):
    (score,) = accuracy.score(code_group(response))
    assert (score.value, score.verdict) == (value, verdict)


def test_partial_credit_is_the_share_of_tests():
    one_of_four = "```python\ndef f(x): return 2\n```"
    assert values(Accuracy(partial=True), code_group(one_of_four)) == [0.25]
    assert values(Accuracy(), code_group(one_of_four)) == [0.0]


def test_what_is_our_fault_is_unscored(accuracy):
    assert values(accuracy, math_group(MATH, gold="9^{9^{9^9}}")) == [None]
    assert values(accuracy, code_group(CODE, reference={"mode": "nonsense"})) == [None]


@pytest.mark.parametrize(
    ("thought", "value"),
    [
        ("", 0.0),
        ("348+275=623", 0.8 * 0.7 + 0.2),
        ("8+5=13\n7+4+1=12", 0.8 * 0.91 + 0.2),
        ("8+5=13\n8+5=13\n5+8=13\n13 = 8+5", 0.8 * 0.7 + 0.2),
        ("8+5=13\n7+4=12", 0.8 * 0.7 / 3 + 0.2),
        ("8+5=13. So the answer is 600", 0.8 * 0.7),
        ("1=1\n2=2", 0.0),
        ("1000+1000=2000\n9000+1=9001", 0.0),
        ("I simply know what it is", 0.2),
    ],
)
def test_reasoning_in_math_pays_distinct_true_steps(thought, value):
    assert values(Reasoning(), math_group(f"<think>{thought}</think>\\boxed{{623}}")) == [
        pytest.approx(value, abs=1e-6)
    ]


def test_an_unfinished_thought_and_a_missing_one_earn_no_reasoning():
    assert values(Reasoning(), math_group("<think>8+5=13", "8+5=13 \\boxed{13}")) == [0.0, 0.0]


def test_repetition_costs_reasoning():
    words = "first add the ones and then add the tens and then add the hundreds of both numbers carefully again "
    (once, often) = values(
        Reasoning(), math_group(*[f"<think>8+5=13 {words * n}</think>\\boxed{{623}}" for n in (1, 40)])
    )
    assert once == pytest.approx(0.76)
    assert often < 0.05


@pytest.mark.parametrize(
    ("thought", "low", "high"),
    [
        ("Multiply x by 3, then add 2.", 1, 1),
        ("", 0, 0),
        ("hm hm hm hm", 0, 0),
        ("I think about the number 3 now", 0.2, 0.5),
    ],
)
def test_reasoning_in_code_speaks_of_what_the_program_does(thought, low, high):
    response = CODE.replace("Multiply x by 3, then add 2.", thought)
    assert low <= values(Reasoning(), code_group(response))[0] <= high


@pytest.mark.parametrize(
    ("response", "value"),
    [
        (MATH, 1.0),
        ("<think>a</think>\\boxed{1}.", 1.0),
        ("<think></think>\\boxed{1}", 0.6),
        ("\\boxed{1}", 0.6),
        ("<think>a</think><think>b</think>\\boxed{1}", 0.6),
        ("well <think>a</think>\\boxed{1}", 0.6),
        ("<think>a</think>\\boxed{1} \\boxed{2}", 0.8),
        ("<think>a</think>\\boxed{1} I hope", 0.8),
        ("<think>a</think>\\boxed{}", 0.4),
        ("<think>a</think>623", 0.4),
        ("<think>\\boxed{1}", 0.0),
        ("", 0.0),
    ],
)
def test_format_pays_by_rule_in_math(response, value):
    assert values(Format(), math_group(response)) == [pytest.approx(value)]


@pytest.mark.parametrize(
    ("response", "value"),
    [(CODE, 1.0), (CODE + "\ndone", 0.8), (CODE + CODE.split("</think>")[1], 0.8), (CODE[:-4], 0.4), ("hello", 0.0)],
)
def test_format_pays_by_rule_in_code(response, value):
    assert values(Format(), code_group(response)) == [pytest.approx(value)]


@pytest.mark.parametrize(
    ("budget", "lengths", "right", "paid"),
    [
        (0, [100, 150, 250], [1, 1, 1], [1, 0.5, 0]),
        (0, [10, 100], [0, 1], [0, 1]),
        (0, [10, 20], [0, 0], [0, 0]),
        (200, [100, 150, 300], [1, 1, 1], [1, 1, 0.5]),
        (0, [100, 5], [1, None], [1, None]),
    ],
)
def test_efficiency_pays_short_right_replies(budget, lengths, right, paid):
    samples = tuple(Sample(f"t#{i}", "", n) for i, n in enumerate(lengths))
    group = Group(Task("t", "math", "", ""), samples, {"accuracy": tuple(Score(v) for v in right)})
    assert values(Efficiency(budget), group) == paid


RESPONSES = [
    MATH,
    MATH.replace("623", "5"),
    "",
    "\\boxed{623}",
    "<think>8+5=13",
    MATH + "!",
    "<think>no</think>#### 623",
]


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(len(RESPONSES))))
def test_permuting_a_group_permutes_its_scores(accuracy, order):
    samples = [Sample(f"t#{i}", r, 10 + 3 * i) for i, r in enumerate(RESPONSES)]
    task = Task("t", "math", "What is 348 + 275?", "623")
    for plugin in (accuracy, Reasoning(), Format(), Efficiency()):
        both = []
        for chosen in (samples, [samples[i] for i in order]):
            given = {"accuracy": tuple(accuracy.score(Group(task, tuple(chosen))))}
            both.append(plugin.score(Group(task, tuple(chosen), given)))
        assert both[1] == [both[0][i] for i in order]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="<think>/\\boxed{}=+-0123456789 \n`python", max_size=300), st.sampled_from(["math", "code"]))
def test_values_stay_between_0_and_1_on_any_text(response, kind):
    group = math_group(response) if kind == "math" else code_group(response)
    for plugin in (Reasoning(), Format()):
        (value,) = values(plugin, group)
        assert 0 <= value <= 1
