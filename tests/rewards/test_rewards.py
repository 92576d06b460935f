import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.accuracy import Accuracy
from rewards.efficiency import Efficiency
from rewards.format import Format
from rewards.reasoning import Reasoning
from rewards.repetition import Repetition
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
        ("348+200=548\n548+75=623\n623=623", 0.8 * 0.91 + 0.2),  # 275 in its places
        ("348+211=559\n559+64=623", 0.0),  # 211 and 64 come from nowhere
        ("348 + 275 = 348 + 200 + 75\n348+200=548\n548+75=623", 0.8 * 0.973 + 0.2),
        ("8+5=13\n8+5=13\n5+8=13\n13 = 8+5", 0.8 * 0.7 + 0.2),
        ("348+275=623\n623+1=624\n624-1=623", 0.8 * 0.7 + 0.2),  # away and back
        ("8+5=13\n7+4=12", 0.8 * 0.7 / 3 + 0.2),
        ("348+275=623\n5 > 9 + 1", 0.8 * 0.7 / 3 + 0.2),
        ("348+275=623. So the answer is 623", 0.8 * 0.7 + 0.2),
        ("348+275=623. So the answer is 600", 0.8 * 0.7 / 2),
        ("348+275=623 \\boxed{600}", 0.8 * 0.7 / 2),
        ("348-275=73", 0.0),  # leads nowhere, and says nothing
        ("348-275=73 is not what is asked", 0.1),
        ("1=1\n2=2", 0.0),
        ("1000+1000=2000\n9000+1=9001", 0.0),
        ("I simply know what it is", 0.1),
        ("I simply know the answer is 623", 0.2),
        ("What is 348 + 275?", 0.0),
    ],
)
def test_reasoning_in_math_pays_steps_that_lead_to_the_answer(thought, value):
    (score,) = Reasoning().score(math_group(f"<think>{thought}</think>\\boxed{{623}}"))
    assert score.value == pytest.approx(value, abs=1e-6), score


@pytest.mark.parametrize(
    ("prompt", "gold", "thought", "num_steps"),
    [
        ("A coat costs $80 and is 25% off. Its price?", "60", "25% of 80 = 20, and 80 - 20 = 60", 2),
        ("Solve 3x + 7 = 25.", "6", "3x = 25 - 7 = 18, so x = 18/3 = 6", 3),
        ("Solve 3x + 7 = 25.", "6", "3x = 25 - 7 = 18, x = 18/3 = 6, 2x = 12, 4x = 24, x + 1 = 7", 3),
        ("Solve 3x + 7 = 25.", "6", "x = 6 since 3x + 7 = 25", 0),  # the problem's own words
        ("Factor x^2 - 5x + 6.", "(x-2)(x-3)", "x^2 - 5x + 6 = (x-2)(x-3)", 1),
        ("What is 10/4?", "2.5", "10/4 = 5/2", 1),
        ("What is 2/3 of 60?", "40", r"\frac{2}{3} \cdot 60 = 40", 1),
        ("Factor 51.", "3*17", "51 = 3 * 17", 1),
        ("What is 100 mod 7?", "2", "7*14 = 98, 100 - 98 = 2", 2),
        ("How many is three dozen?", "36", "3 * 12 = 36", 1),
        ("Which is larger, 2 or 3?", "the second", "3 - 2 = 1", 1),
    ],
)
def test_steps_rest_on_the_problem_and_lead_to_the_answer(prompt, gold, thought, num_steps):
    (score,) = Reasoning().score(math_group(f"<think>{thought}</think>\\boxed{{{gold}}}", prompt=prompt, gold=gold))
    assert len((score.evidence or {"used": []})["used"]) == num_steps, score


LETTERS = st.text(alphabet="abcdefghij ", min_size=5, max_size=60)
BIG = st.integers(10**6, 10**9)
FILLER = st.one_of(
    st.integers(0, 10**6).map(lambda n: f"{n} = {n}"),
    st.sampled_from(["8+5=13", "5 + 8 = 13", "3+2+1 = 6", "7+4+1=12"]),
    st.integers(1, 99).map(lambda n: f"Step {n}: now the next step."),
    st.sampled_from(
        ["therefore hence thus", "Let me verify this carefully.", "First, second, third, finally.", "Wait."]
    ),
    st.tuples(BIG, BIG).map(lambda pair: f"{pair[0]} + {pair[1]} = {sum(pair)}"),
    st.tuples(BIG, BIG).map(lambda pair: f"{pair[0]} < {sum(pair)} - 1"),
    LETTERS,
    st.sampled_from(["x + x = 2x", "(y+1)^2 = y^2 + 2y + 1", "我们再想一想", "\x00", "348 = 348", "623 * 1 = 623"]),
)
SOLVED = {
    "math": ("What is 348 + 275?", "8+5=13\n7+4+1=12\n3+2+1=6", "\\boxed{623}"),
    "code": ("Write f.", "Multiply x by 3, then add 2.", CODE.split("</think>\n")[1]),
}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(SOLVED)), st.lists(FILLER, min_size=1, max_size=12), st.data())
def test_filler_never_raises_a_score(kind, filler, data):
    prompt, thought, answer = SOLVED[kind]
    lines = thought.split("\n")
    for line in filler:
        lines.insert(data.draw(st.integers(0, len(lines))), line)
    replies = [f"<think>\n{text}\n</think>\n{answer}" for text in (thought, "\n".join(lines))]
    group = Group(Task("t", kind, prompt, ""), tuple(Sample(f"t#{i}", r, 10) for i, r in enumerate(replies)))
    for plugin in (Reasoning(), Format(), Repetition()):
        plain, padded = values(plugin, group)
        assert padded <= plain


def test_an_unfinished_thought_and_a_missing_one_earn_no_reasoning():
    assert values(Reasoning(), math_group("<think>8+5=13", "8+5=13 \\boxed{13}")) == [0.0, 0.0]


def test_repetition_costs_reasoning():
    words = "first add the ones and then add the tens and then add the hundreds of both numbers carefully again "
    (once, often) = values(
        Reasoning(), math_group(*[f"<think>8+5=13 {words * n}</think>\\boxed{{623}}" for n in (1, 40)])
    )
    assert once == pytest.approx(0.76)
    assert often < 0.05


def test_a_running_number_does_not_hide_repetition():
    texts = ["\n".join(f"I check line {i} of the sum again." for i in range(n)) for n in (1, 100)]
    once, often = values(Reasoning(), math_group(*[f"<think>8+5=13 {text}</think>\\boxed{{623}}" for text in texts]))
    assert once == pytest.approx(0.76)
    assert often < 0.4


def test_a_foreign_script_costs_reasoning_and_format():
    chinese = "我们先把所有的数加起来然后再检查一遍" * 4
    thoughts = (f"8+5=13 {'ab cd ef ' * 3}", f"8+5=13 {chinese[:15]}", f"8+5=13 {chinese}" * 2)
    replies = [f"<think>{thought}</think>\\boxed{{623}}" for thought in thoughts]
    plain, few, many = values(Reasoning(), math_group(*replies))
    assert plain == few
    assert many < 0.6 * plain
    # In a Chinese problem the same letters are at home.
    assert values(Reasoning(), math_group(replies[1], prompt="348 + 275 等于多少?"))[0] == plain
    assert values(Format(), math_group(*replies)) == [1, 1, 0.5]


@pytest.mark.parametrize(
    ("thought", "low", "high"),
    [
        ("Multiply x by 3, then add 2.", 1, 1),
        ("", 0, 0),
        ("hm hm hm hm", 0, 0),
        ("I think about the number 3 now", 0.2, 0.5),
        ("Write f.", 0, 0),
        ("def f(x):\n    return x * 3 + 2", 0, 0),
        ("```python\nreturn x * 3 + 2\n```", 0, 0),
        ("multiply add subtract divide loop sort set slice count if power 3 x", 0.1, 0.6),
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
        ("<think>a\x00</think>\\boxed{1}", 0.5),
        ("<think>a\u202e</think>\\boxed{1}", 0.5),
        ("<think>a\ud800</think>\\boxed{1}", 0.5),
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


def efficiency_of(plugin, *lengths, right=1.0):
    samples = tuple(Sample(f"t#{i}", "", n) for i, n in enumerate(lengths))
    return values(plugin, Group(Task("t", "math", "", ""), samples, {"accuracy": (Score(right),) * len(lengths)}))


def test_efficiency_may_fall_as_a_cosine():
    assert efficiency_of(Efficiency(shape="cosine"), 100, 125, 150, 250) == pytest.approx([1, 0.853553, 0.5, 0])


def test_efficiency_may_have_a_soft_limit():
    # Every length is within the budget; 100 - 20 tokens are free of the overlong penalty.
    plugin = Efficiency(budget=200, max_tokens=100, overlong_tokens=20)
    assert efficiency_of(plugin, 80, 90, 100, 150) == [1, 0.5, 0, 0]


def test_a_reply_with_partial_credit_is_not_paid_for_being_short():
    assert efficiency_of(Efficiency(), 5, right=0.99) == [0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": -1}, "budget=-1"),
        ({"max_tokens": 10, "overlong_tokens": 11}, "overlong_tokens=11"),
        ({"cpu_time_share": 1.5}, "cpu_time_share=1.5"),
    ],
)
def test_efficiency_refuses_what_makes_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        Efficiency(**arguments)


def test_a_right_program_that_takes_more_cpu_earns_less_and_one_that_only_waits_does_not():
    body = "def f(x):\n    {}return x * 3 + 2"
    programs = [body.format(line) for line in ("", "sum(range(10**7))\n    ", "__import__('time').sleep(0.5)\n    ")]
    responses = [f"<think>a</think>\n```python\n{program}\n```" for program in programs]
    group = code_group(*responses)
    scored = Group(group.task, group.samples, {"accuracy": (Score(1.0),) * 3})
    assert values(Efficiency(), scored) == [1, 1, 1]
    fast, slow, waiting = Efficiency(cpu_time_share=1.0).score(scored)
    assert (fast.value, slow.value, waiting.value) == (1, 0, 1)
    assert slow.evidence["times_the_least"] > 4
    assert slow.evidence["cpu_seconds"] > waiting.evidence["cpu_seconds"]


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
