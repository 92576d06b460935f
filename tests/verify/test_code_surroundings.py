"""What programs take for granted: names without an import, standard input by its path, long integers, deep stacks."""

import pytest

from rlkit import judge_code

DEEP = "import sys\nfrom functools import cache\nsys.setrecursionlimit(10**6)\n"
THREAD = "import sys, threading\nsys.setrecursionlimit(10**7)\nthreading.stack_size({size})\n"


def call(program, expected, args=(), entry_point="f", tier="auto", **more):
    test = {"args": list(args), "expected": expected}
    return judge_code({"mode": "function", "entry_point": entry_point, "tests": [test], **more}, program, tier=tier)


def run(program, stdin, stdout, tier="auto", **more):
    return judge_code({"mode": "stdin", "tests": [{"stdin": stdin, "stdout": stdout}], **more}, program, tier=tier)


@pytest.mark.parametrize("entry_point", ["f", "Solution.f", "Solution().f"])
def test_a_function_may_stand_in_a_class_named_solution(entry_point):
    program = "class Solution:\n    def f(self, x: List[int]) -> Optional[int]:\n        return self.g(x)\n"
    program += "    def g(self, x): return max(Counter(x).values())"
    assert call(program, 2, [[1, 1, 3]], entry_point).verdict == "pass"


def test_a_function_of_its_own_comes_before_a_method_of_the_same_name():
    assert call("class Solution:\n    def f(self): return 1\ndef f(): return 2", 2).verdict == "pass"
    assert call("class Solver:\n    def f(self): return 1", 1).verdict == "fail"
    code = "assert f(3) == 4\ny = [f(x) for x in (1, 2)]\nassert y == [2, 3]"
    reference = {"mode": "asserts", "entry_point": "f", "test_code": code}
    assert judge_code(reference, "class Solution:\n    def f(self, x): return x + 1").verdict == "pass"


NAMES = """
[gcd(4, 6), math.gcd(4, 6), lcm(4, 6), isqrt(17), comb(4, 2), floor(pi), inf > 1] == [2, 2, 12, 4, 6, 3, True]
[heappush([], 1), heappop([2]), heapq.nlargest(1, [1, 3]), heapify([])] == [None, 2, [3], None]
[bisect_left([1, 2], 2), bisect.bisect([1, 2], 2), insort([1], 2)] == [1, 2, None]
[defaultdict(list)[1], Counter("aab")["a"], deque([1, 2], 1)[0], OrderedDict() == {}] == [[], 2, 2, True]
[list(accumulate([1, 2])), len(list(product("ab", repeat=2))), list(pairwise([1, 2]))] == [[1, 3], 4, [(1, 2)]]
[reduce(lambda a, b: a * b, [2, 3]), sorted([2, 1], key=cmp_to_key(lambda a, b: a - b))] == [6, [1, 2]]
[ascii_lowercase[:2], string.digits, re.sub("a", "b", "a"), maxsize > 1] == ["ab", "0123456789", "b", True]
[deepcopy([1]), copy.copy([2]), datetime.date(2020, 1, 2).day, timedelta(days=2).days] == [[1], [2], 2, 2]
[itemgetter(1)([5, 6]), operator.add(1, 2), sum(map(mul, [1, 2], [3, 4])), mean([1, 3])] == [6, 3, 11, 2]
[randint(2, 2), len(sample([1, 2], 1)), random.choice([3]), sys.maxsize > 1, json.dumps([1])] == [2, 1, 3, True, "[1]"]
[setrecursionlimit(9000), array.array("i", [1])[0], StringIO("a").read(), statistics.mode([1])] == [None, 1, "a", 1]
"""


@pytest.mark.parametrize("line", NAMES.strip().splitlines())
def test_names_of_contest_sites_need_no_import(line):
    program = f"T: Dict[str, Deque[int]] = {{}}\n@cache\ndef f(x: Optional[int] = None) -> bool:\n    return {line}"
    verdict = call(program, True)
    assert verdict.verdict == "pass", verdict.detail
    assert "NameError" in call(program, True, contest_names=False).detail


def test_whether_names_are_provided_may_be_a_default_of_the_caller():
    reference = {"mode": "function", "entry_point": "f", "tests": [{"args": [], "expected": 2}]}
    program = "def f(): return gcd(4, 6)"
    assert "NameError" in judge_code(reference, program, contest_names=False).detail
    assert judge_code(reference | {"contest_names": True}, program, contest_names=False).verdict == "pass"
    assert "contest_names" in judge_code(reference | {"contest_names": "yes"}, program).detail


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("def f(): return [pow(2, 10, 1000), sum([1]), max(1, 2), type(open).__name__ != '']", [24, 1, 2, True]),
        ("def gcd(a, b): return 7\ndef f(): return gcd(4, 6)", 7),
        ("def f():\n    e = 5\n    return [count for count in range(2)] + [e]", [0, 1, 5]),
        ("try:\n    inf\nexcept NameError:\n    inf = 7\ndef f(): return inf", 7),
        ("def f(): return [n for n in ('gcd', 'inf', 'List') if n in globals()]", []),
        ("from math import *\ndef f(): return pow(2, 2)", 4.0),
        ("import math as gcd\ndef f(): return gcd.sqrt(4)", 2),
    ],
)
def test_provided_names_change_no_program_that_has_its_own(program, expected):
    verdict = call(program, expected)
    assert verdict.verdict == "pass", verdict.detail


def test_scripts_get_names_only_where_the_reference_says_so():
    assert "NameError" in run("print(gcd(4, 6))", "", "2").detail
    assert run("print(gcd(4, 6))", "", "2", contest_names=True).verdict == "pass"


@pytest.mark.parametrize(
    "program",
    [
        "print(open('/dev/stdin').read().split()[1])",
        "import sys\nsys.stdin = open('/dev/stdin')\ninput()\nprint(input())",
        "import sys\ninput = sys.stdin.readline\ninput()\nprint(input(), end='')",
        "import sys\nprint(sys.stdin.buffer.read().decode().split()[1])",
        "print(open(0).read().split()[1])",
        "print(open('/dev/fd/0', 'rb').read().decode().split()[1])",
        "import pathlib\nprint(pathlib.Path('/dev/stdin').read_text().split()[1])",
        "import os\nprint(os.read(os.open('/dev/stdin', os.O_RDONLY), 99).split()[1].decode())",
        "import io, os\nprint(io.BytesIO(os.read(0, os.fstat(0).st_size)).read().split()[1].decode())",
        "with open('/dev/stdin') as f: pass\nprint(input() and input())",
        "open('/dev/stdout', 'w').write(open('/dev/stdin').read().split()[1])",
        "import fileinput\nprint(list(fileinput.input('/dev/stdin'))[1])",
    ],
)
def test_a_script_reads_its_input_by_every_usual_way(tier, program):
    verdict = run(program, "one\ntwo\n", "two\n", tier)
    assert verdict.verdict == "pass", verdict.detail


def test_integers_of_any_length_are_printed_and_read(tier):
    assert run("print(10**5000)", "", "1" + "0" * 5000, tier).verdict == "pass"
    assert run("print(int(input()) % 1000)", "9" * 5001, "999", tier).verdict == "pass"
    assert call("def f(): return [len(str(3**20000)), int('7' * 4999) % 10]", [9543, 7], tier=tier).verdict == "pass"


@pytest.mark.parametrize(
    "program",
    [
        DEEP + "def g(n): return 0 if n == 0 else 1 + g(n - 1)\ndef f(): return g(10**5)",
        DEEP + "@cache\ndef g(n): return 0 if n == 0 else 1 + g(n - 1)\ndef f(): return g(10**5)",
        DEEP + "def g(n): return 0 if n == 0 else 1 + max(map(g, [n - 1]))\ndef f(): return g(10**5)",
        "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY,) * 2)\n"
        + DEEP
        + "def g(n): return 0 if n == 0 else 1 + g(n - 1)\ndef f(): return g(10**5)",
        THREAD.format(size=2**29)
        + "def g(n): return 0 if n == 0 else 1 + g(n - 1)\ndef f():\n    out = []\n"
        + "    t = threading.Thread(target=lambda: out.append(g(10**5)))\n    t.start(); t.join()\n    return out[0]",
    ],
)
def test_deep_recursion_works_within_the_memory_limit(tier, program):
    verdict = call(program, 10**5, tier=tier)
    assert verdict.verdict == "pass", verdict.detail


@pytest.mark.parametrize("decorator", ["", "@cache\n"])
def test_endless_recursion_ends_with_its_own_verdict(tier, decorator):
    program = f"{DEEP.replace('10**6', '10**9')}{decorator}def f(n=0): return f(n + 1)"
    verdict = call(program, 1, tier=tier, limits={"memory_mb": 128})
    assert verdict.verdict in ("fail", "memory", "killed"), verdict.detail
    assert call("def f(): return f()", 1, tier=tier).detail.startswith("RecursionError")
