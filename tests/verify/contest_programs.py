"""Programs for twenty tasks of the CodeContests file, by row. Each ends by printing the list `out`."""

_PRINT = '\nprint(*out, sep="\\n")\n'

SOLUTIONS = {
    13: """
out = []
for _ in range(int(input())):
    s = input().strip()
    out.append("YES" if 2 * s.count("B") == len(s) else "NO")
""",
    28: """
out = []
for _ in range(int(input())):
    a, b, c = map(int, input().split())
    out.append((a + 2 * b + 3 * c) % 2)
""",
    29: """
import sys

def read():
    return list(map(int, sys.stdin.readline().split()))

out = []
for _ in range(read()[0]):
    read()
    a = read()
    out.append(a.count(1) << a.count(0))
""",
    45: """
def height(days):
    tall, before = 1, None
    for day in days:
        if before == day == 0:
            return -1
        tall += (5 if before else 1) * day
        before = day
    return tall

out = []
for _ in range(int(input())):
    input()
    out.append(height(list(map(int, input().split()))))
""",
    46: """
out = []
for _ in range(int(input())):
    input()
    a = list(map(int, input().split()))
    steps, top = 0, a[-1]
    for value in reversed(a):
        if value > top:
            top, steps = value, steps + 1
    out.append(steps)
""",
    47: """
out = []
for _ in range(int(input())):
    n, k = map(int, input().split())
    x = list(map(int, input().split()))
    right, left = sorted(v for v in x if v > 0), sorted(-v for v in x if v < 0)
    way = 2 * (sum(right[::-1][::k]) + sum(left[::-1][::k]))
    out.append(way - max(right[-1:] + left[-1:] + [0]))
""",
    52: """
MOD = 10**9 + 7
out = []
for _ in range(int(input())):
    n, k = map(int, input().split())
    out.append(sum(pow(n, i, MOD) for i in range(k.bit_length()) if k >> i & 1) % MOD)
""",
    60: """
from collections import Counter

out = []
for _ in range(int(input())):
    n = int(input())
    a = list(map(int, input().split()))
    total, seen, pairs = 2 * sum(a), Counter(), 0
    for value in a:
        if total % n == 0:
            pairs += seen[total // n - value]
        seen[value] += 1
    out.append(pairs)
""",
    61: """
import sys
from collections import Counter

data = iter(map(int, sys.stdin.buffer.read().split()))
out = []
for _ in range(next(data)):
    n = next(data)
    tasks = [(next(data), next(data)) for _ in range(n)]
    topics, levels = Counter(t for t, _ in tasks), Counter(d for _, d in tasks)
    bad = sum((topics[t] - 1) * (levels[d] - 1) for t, d in tasks)
    out.append(n * (n - 1) * (n - 2) // 6 - bad)
""",
    78: """
from math import gcd

out = []
for _ in range(int(input())):
    n = int(input())
    a = list(map(int, input().split()))
    g = 0
    for bit in range(30):
        g = gcd(g, sum(v >> bit & 1 for v in a))
    out.append(" ".join(str(k) for k in range(1, n + 1) if g % k == 0))
""",
    98: """
out = []
for _ in range(int(input())):
    place = {key: i for i, key in enumerate(input().strip())}
    word = input().strip()
    out.append(sum(abs(place[a] - place[b]) for a, b in zip(word, word[1:])))
""",
    99: """
out = []
for _ in range(int(input())):
    x, n = map(int, input().split())
    for jump in range(n - n % 4 + 1, n + 1):
        x += jump if x % 2 else -jump
    out.append(x)
""",
    100: """
out = []
for _ in range(int(input())):
    input()
    a = sorted(map(int, input().split()))
    out.append(max([a[0], *(y - x for x, y in zip(a, a[1:]))]))
""",
    119: """
out = []
for _ in range(int(input())):
    n = int(input())
    out.append(int(sum(map(int, input().split())) % n != 0))
""",
    120: """
def ones(n, bit):
    # Numbers from 0 to n with this bit.
    block = 1 << bit + 1
    return (n + 1) // block * (block // 2) + max(0, (n + 1) % block - block // 2)

out = []
for _ in range(int(input())):
    l, r = map(int, input().split())
    out.append(r - l + 1 - max(ones(r, b) - ones(l - 1, b) for b in range(19)))
""",
    132: """
out = []
for _ in range(int(input())):
    b = list(map(int, input().split()))
    out.append(f"{b[0]} {b[1]} {b[6] - b[0] - b[1]}")
""",
    134: """
from functools import reduce
from math import gcd

def divisor(a):
    for first in (0, 1):
        d = reduce(gcd, a[first::2])
        if all(v % d for v in a[1 - first :: 2]):
            return d
    return 0

out = []
for _ in range(int(input())):
    input()
    out.append(divisor(list(map(int, input().split()))))
""",
    140: """
def roots(n, power):
    r = round(n ** (1 / power))
    while r**power > n:
        r -= 1
    while (r + 1) ** power <= n:
        r += 1
    return r

out = []
for _ in range(int(input())):
    n = int(input())
    out.append(roots(n, 2) + roots(n, 3) - roots(n, 6))
""",
    148: """
out = []
for _ in range(int(input())):
    w, h = map(int, input().split())
    sides = [list(map(int, input().split()))[1:] for _ in range(4)]
    wide = [max(side) - min(side) for side in sides]
    out.append(max(max(wide[:2]) * h, max(wide[2:]) * w))
""",
    160: """
out = []
for _ in range(int(input())):
    n, m, r, c, goal_r, goal_c = map(int, input().split())
    dr = dc = 1
    steps = 0
    while r != goal_r and c != goal_c:
        dr = -dr if not 1 <= r + dr <= n else dr
        dc = -dc if not 1 <= c + dc <= m else dc
        r, c, steps = r + dr, c + dc, steps + 1
    out.append(steps)
""",
}

RIGHT = {row: solution + _PRINT for row, solution in SOLUTIONS.items()}
BROKEN = {
    "nothing is printed": SOLUTIONS,
    "the last line is missing": {
        row: solution + _PRINT.replace("*out", "*out[:-1]") for row, solution in SOLUTIONS.items()
    },
    "a line too many": {row: solution + _PRINT.replace("*out", "*out, 0") for row, solution in SOLUTIONS.items()},
    "the last line is wrong": {
        row: f"{solution}\nout[-1] = f'{{out[-1]}}1'{_PRINT}" for row, solution in SOLUTIONS.items()
    },
}
