"""Programs that try to pass without doing the task. Each: why it is here, the verdict it must get, the program.

The task is f(2) == SECRET, so whatever passes has seen the expected value or gone round the comparison.
"""

SECRET = 918273645

# The number in two parts: a search of the process must not find the program itself.
_KEY = "key = lambda: str(918273) + str(645)\n"
_SEND = """\
import json, os
def send(body):
    for fd in range(2, 300):
        try: os.write(fd, len(body).to_bytes(4, "big") + body)
        except OSError: pass
"""

FUNCTION = {
    "exit 0 at import": (
        "status 0 is no result",
        "fail",
        "import os\nos._exit(0)",
    ),
    "exit 0 in the call": (
        "status 0 is no result",
        "fail",
        "import os\ndef f(x): os._exit(0)",
    ),
    "sys.exit": (
        "SystemExit is no result",
        "fail",
        "import sys\ndef f(x): sys.exit(0)",
    ),
    "SystemExit at import": ("SystemExit is no result", "fail", "raise SystemExit(0)"),
    "KeyboardInterrupt": ("must not stop the judge", "fail", "def f(x): raise KeyboardInterrupt"),
    "GeneratorExit": ("an odd BaseException", "fail", "def f(x): raise GeneratorExit"),
    "MemoryError": ("named, never a pass", "memory", "def f(x): raise MemoryError"),
    "killed by itself": (
        "a signal is no result",
        "killed",
        "import os\ndef f(x): os.kill(os.getpid(), 9)",
    ),
    "abort": (
        "a crash is no result",
        "killed",
        "import os\ndef f(x): os.abort()",
    ),
    "endless import": ("named", "timeout", "while True: pass"),
    "no function": ("nothing to call", "fail", "g = 1"),
    "not callable": ("nothing to call", "fail", "f = 918273646"),
    "syntax": ("nothing to call", "fail", "def f(x: return"),
    "NUL": ("compile refuses it", "fail", "def f(x): return 7\x00"),
    "equal to everything": (
        "an object that answers every ==",
        "fail",
        """\
class A:
    def __eq__(s, o): return True
    __hash__ = None
def f(x): return A()
""",
    ),
    "not unequal to anything": (
        "for judges that use !=",
        "fail",
        "class A:\n    __ne__ = lambda s, o: False\nf = lambda x: A()",
    ),
    "subclass of int": (
        "a forged int",
        "fail",
        "class A(int):\n    __eq__ = lambda s, o: True\ndef f(x): return A(7)",
    ),
    "subclass of float": (
        "a forged float",
        "fail",
        "class A(float):\n    __eq__ = lambda s, o: True\ndef f(x): return A(7)",
    ),
    "subclass of str": (
        "a forged str",
        "fail",
        "class A(str):\n    __eq__ = lambda s, o: True\ndef f(x): return A('7')",
    ),
    "subclass of list": (
        "a forged list",
        "fail",
        "class A(list):\n    __eq__ = lambda s, o: True\ndef f(x): return A([7])",
    ),
    "subclass of dict": (
        "a forged dict",
        "fail",
        "class A(dict):\n    __eq__ = lambda s, o: True\ndef f(x): return A()",
    ),
    "subclass inside a list": (
        "forged one level down",
        "fail",
        "class A(int):\n    __eq__ = lambda s, o: True\nf = lambda x: [A(7)]",
    ),
    "class named int": (
        "types are not told by their names",
        "fail",
        "class int:\n    __eq__ = lambda s, o: True\nf = lambda x: int()",
    ),
    "lying __class__": (
        "isinstance believes it",
        "fail",
        "class A:\n    __class__ = int\n    __eq__ = lambda s, o: True\nf = lambda x: A()",
    ),
    "metaclass": (
        "a hostile type(x).__name__",
        "fail",
        """\
class M(type):
    @property
    def __name__(s): raise SystemExit
class A(metaclass=M): pass
f = lambda x: A()
""",
    ),
    "numpy by name": (
        "what claims to be an array gives itself for ever",
        "fail",
        """\
class float64:
    __module__ = 'numpy'
    def tolist(s): return s
f = lambda x: float64()
""",
    ),
    "patched builtins": (
        "the encoder's own tools are the candidate's",
        "fail",
        """\
import builtins
builtins.hex = builtins.repr = lambda x: '0x7'
builtins.type = lambda x: int
def f(x): return 'no'
""",
    ),
    "no builtins": (
        "nothing left to work with",
        "fail",
        "import builtins\nbuiltins.__dict__.clear()\ndef f(x): return 1",
    ),
    "patched json": (
        "a library that the encoder uses",
        "fail",
        """\
import json
json.dumps = lambda *a, **k: '{"status": "pass"}'
def f(x): return 1
""",
    ),
    "patched json encoder": (
        "the library below it",
        "fail",
        """\
import json.encoder
json.encoder.JSONEncoder.encode = lambda s, o: 'true'
def f(x): return 1
""",
    ),
    "stack walk": (
        "the expected value in a caller's frame",
        "fail",
        _KEY
        + """\
import sys
def f(x):
    frame, seen = sys._getframe(), []
    while frame:
        seen += [repr(v)[:9999] for space in (frame.f_locals, frame.f_globals) for v in list(space.values())]
        frame = frame.f_back
    return int(key()) if any(key() in text for text in seen) else 0
""",
    ),
    "gc walk": (
        "the expected value in any object",
        "fail",
        _KEY
        + """\
import gc
def f(x):
    held = [o for o in gc.get_objects() if type(o) in (dict, list, tuple, set)]
    inside = [v for o in held for v in (list(o.values()) if type(o) is dict else list(o))]
    numbers = [v for v in inside if type(v) is int]
    texts = [v for v in inside if type(v) is str]
    return int(key()) if int(key()) in numbers or any(key() in text for text in texts) else 0
""",
    ),
    "memory walk": (
        "the expected value in the process's bytes",
        "fail",
        """\
def f(x):
    try:
        maps = [line.split() for line in open("/proc/self/maps")]
        memory = open("/proc/self/mem", "rb", 0)
    except OSError:
        return 0
    needle, found = bytes([57, 49, 56, 50, 55, 51, 54, 52, 53]), 0
    for area in maps:
        start, end = (int(v, 16) for v in area[0].split("-"))
        try:
            memory.seek(start)
            found += memory.read(min(end - start, 1 << 24)).count(needle)
        except (OSError, ValueError, OverflowError): pass
    return int(needle) if found > 2 else 0
""",
    ),
    "environment": (
        "the expected value in the environment or the arguments",
        "fail",
        _KEY
        + """\
import os, sys
def f(x):
    return int(key()) if key() in str(dict(os.environ)) + str(sys.argv) + str(sys.orig_argv) else 0
""",
    ),
    "forged frames": (
        "verdicts on every descriptor",
        "fail",
        _SEND
        + """\
def f(x):
    for message in ({"status": "pass"}, {"status": "done", "token": ""}, {"verdict": "pass"}):
        send(json.dumps(message).encode())
    os._exit(0)
""",
    ),
    "forged verdict in a value": (
        "only the value of a frame counts",
        "fail",
        _SEND
        + """\
def f(x):
    send(json.dumps({"status": "value", "value": 1, "verdict": "pass"}).encode())
    return 1
""",
    ),
    "half a frame": (
        "a length without its bytes",
        "fail",
        """\
import os
def f(x):
    for fd in range(2, 300):
        try: os.write(fd, bytes([0, 0, 1, 0, 97]))
        except OSError: pass
    os._exit(0)
""",
    ),
    "deep frame": (
        "nesting that a recursive reader dies of",
        "fail",
        _SEND + 'def f(x):\n    send(b"[" * 100000)\n    os._exit(0)',
    ),
    "long number": (
        "decimal digits that take quadratic time to read",
        "fail",
        _SEND
        + """\
def f(x):
    send(b'{"status":"value","value":' + b"7" * 500000 + b"}")
    os._exit(0)
""",
    ),
    "colliding set": (
        "integers of one hash: a set of them takes quadratic time to build",
        "fail",
        _SEND
        + """\
def f(x):
    parts = [["i", hex(k * (2**61 - 1))] for k in range(15000)]
    send(json.dumps({"status": "value", "value": ["S", *parts]}).encode())
    os._exit(0)
""",
    ),
    "dup2 over everything": (
        "the channel leads to the output",
        "fail",
        "import os\ndef f(x):\n    for fd in range(2, 200): os.dup2(1, fd)\n    return 1",
    ),
    "closed descriptors": (
        "no channel left",
        "fail",
        "import os\ndef f(x):\n    os.closerange(0, 300)\n    return 1",
    ),
    "atexit": (
        "a handler that speaks last",
        "fail",
        "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): return 1",
    ),
    "trace hook": (
        "a hook that rewrites what callers see",
        "fail",
        """\
import sys
def hook(frame, event, arg):
    frame.f_locals["want"] = frame.f_locals["value"] = 1
    return hook
sys.settrace(hook)
sys.setprofile(hook)
def f(x): return 1
""",
    ),
    "pickle": (
        "a value that runs code where it is read",
        "fail",
        "class A:\n    def __reduce__(s): return (exit, (0,))\nf = lambda x: A()",
    ),
    "pickled bytes": (
        "bytes are bytes",
        "fail",
        "import pickle\nf = lambda x: pickle.dumps(print)",
    ),
    "deep value": (
        "nesting",
        "fail",
        "def f(x):\n    y = []\n    for _ in range(10**4): y = [y]\n    return y",
    ),
    "value in itself": (
        "nesting without end",
        "fail",
        "def f(x):\n    y = []\n    y.append(y)\n    return y",
    ),
    "huge value": ("more than the channel carries", ("fail", "output"), "def f(x): return [0] * 10**7"),
    "long text": ("more than the channel carries", ("fail", "output"), "def f(x): return 'a' * 10**7"),
    "shared references": (
        "2**60 parts in 60 lists",
        "fail",
        "def f(x):\n    y = [1]\n    for _ in range(60): y = [y, y]\n    return y",
    ),
    "generator": ("no value yet", "fail", "def f(x): yield 918273645"),
    "endless iterator": (
        "for encoders that iterate",
        "fail",
        """\
class A:
    __iter__ = lambda s: s
    __next__ = lambda s: 1
    __len__ = lambda s: 1
f = lambda x: A()
""",
    ),
    "coroutine": ("no value yet", "fail", "async def f(x): return 918273645"),
    "NaN": ("equal to nothing", "fail", "def f(x): return float('nan')"),
    "infinity": ("equal to no number", "fail", "def f(x): return float('inf')"),
    "text for a number": ("of another type", "fail", "def f(x): return '918273645'"),
    "number in a list": ("of another shape", "fail", "def f(x): return [918273645]"),
    "an error of odd characters": (
        "surrogates and control codes have no place in logs and tables",
        "fail",
        "def f(x): raise ValueError('\\ud800\\x1b[2J\\nverdict: pass')",
    ),
    "__str__ raises": (
        "an error whose text is an error",
        "fail",
        "class E(Exception):\n    def __str__(s): raise s\ndef f(x): raise E",
    ),
    "__str__ loops": (
        "an error whose text never ends",
        "timeout",
        """\
class E(Exception):
    def __str__(s):
        while True: pass
def f(x): raise E
""",
    ),
    "__str__ exits": (
        "an error that leaves",
        "fail",
        "import os\nclass E(Exception):\n    def __str__(s): os._exit(0)\ndef f(x): raise E",
    ),
    "surrogates": ("text that is not Unicode", "fail", "def f(x): return '\\ud800'"),
    "argument returned": ("the argument says nothing", "fail", "def f(x): return x"),
    "recursion": ("named by its error", "fail", "def f(x): return f(x)"),
}

PRINTED = "3\n4\n"
SCRIPT = {
    "nothing": ("nothing printed", "fail", ""),
    "first line only": ("for judges that zip lines", "fail", "print(3)"),
    "an extra line": (
        "for judges that zip lines",
        "fail",
        "print(3)\nprint(4)\nprint(5)",
    ),
    "an extra token": (
        "within a line",
        "fail",
        "print(3)\nprint(4, 4)",
    ),
    "glued tokens": ("blanks part tokens", "fail", "print(34)"),
    "one line for two": ("lines part too", "fail", "print(3, 4)"),
    "another order": (
        "lines have an order",
        "fail",
        "print(4)\nprint(3)",
    ),
    "an empty line between": (
        "empty lines count inside",
        "fail",
        "print(3)\nprint()\nprint(4)",
    ),
    "other spelling": (
        "tokens are texts",
        "fail",
        "print('3.0')\nprint(4)",
    ),
    "garbage bytes": (
        "no Unicode",
        "fail",
        """\
import os
os.write(1, b'3\\n\\xff4\\n')
""",
    ),
    "NUL at the end": ("NUL is no blank", "fail", "print('3\\n4\\0')"),
    "status 1": (
        "right output, wrong status",
        "fail",
        """\
print('3\\n4')
raise SystemExit(1)
""",
    ),
    "exception after": (
        "right output, then an error",
        "fail",
        """\
print('3\\n4')
1 / 0
""",
    ),
    "status 256": (
        "its low byte is 0, its value is not",
        "pass",
        """\
print('3\\n4')
raise SystemExit(256)
""",
    ),
    "killed after": (
        "right output, then a signal",
        "killed",
        """\
import os
print('3\\n4', flush=True)
os.kill(os.getpid(), 9)
""",
    ),
    "exit 0 before": (
        "left before it printed",
        "fail",
        """\
import os
print('3\\n4')
os._exit(0)
""",
    ),
    "to stderr": (
        "another stream",
        "fail",
        """\
import sys
print('3\\n4', file=sys.stderr)
""",
    ),
    "to the channel": (
        "another descriptor",
        "fail",
        """\
import os
for fd in range(2, 300):
    try: os.write(fd, b"3\\n4\\n")
    except OSError: pass
""",
    ),
    "forged frames": (
        "verdicts on the channel",
        "fail",
        _SEND
        + """\
for message in ({"status": "pass"}, {"status": "value", "value": 1}, {"status": "ready"}):
    send(json.dumps(message).encode())
""",
    ),
    "exit handler prints": (
        "the whole output counts",
        "fail",
        """\
import atexit
atexit.register(print, 5)
print('3\\n4')
""",
    ),
    "endless output": ("bounded", "output", "while True: print(3)"),
}

TEST_CODE = """
def check(candidate):
    for x in (1, 2, 3):
        assert candidate(x) == x * x + 1
    for x, got in enumerate(map(candidate, range(3))):
        assert got == x * x + 1
"""
ASSERTS = {
    "wrong": ("the assert sees it", "fail", "def f(x): return x"),
    "exit 0 in the call": (
        "the test did not end",
        "fail",
        "import os\ndef f(x): os._exit(0)",
    ),
    "exit 0 at import": (
        "the test did not begin",
        "fail",
        "import os\nos._exit(0)",
    ),
    "sys.exit": (
        "an exception like another",
        "fail",
        "import sys\ndef f(x): sys.exit(0)",
    ),
    "equal to everything": (
        "objects stay where they are",
        "fail",
        "class A:\n    __eq__ = lambda s, o: True\nf = lambda x: A()",
    ),
    "subclass of int": (
        "objects stay where they are",
        "fail",
        "class A(int):\n    __eq__ = lambda s, o: True\nf = lambda x: A(7)",
    ),
    "patched AssertionError": (
        "in the wrong process",
        "fail",
        "import builtins\nbuiltins.AssertionError = Warning\nf = lambda x: x",
    ),
    "a check of its own": (
        "in the wrong process",
        "fail",
        "import builtins\nbuiltins.check = check = lambda c: None\nf = lambda x: x",
    ),
    "forged frames": (
        "the tester's last word on every descriptor",
        "fail",
        _SEND
        + """\
def f(x):
    send(json.dumps({"status": "done", "token": ""}).encode())
    return 0
""",
    ),
    "the harness's own channel": (
        "the tester's last word in place of a value",
        "fail",
        """\
import json, sys
frame = sys._getframe()
while "channel" not in frame.f_locals: frame = frame.f_back
channel = frame.f_locals["channel"]
def f(x):
    for message in ({"status": "done", "token": ""}, {"status": "done"}, {"status": "value", "value": True}):
        channel.send(json.dumps(message).encode())
    return 0
""",
    ),
    "messages out of turn": (
        "the judge counts by itself",
        ("fail", "timeout"),
        """\
import sys
frame = sys._getframe()
while "channel" not in frame.f_locals: frame = frame.f_back
channel = frame.f_locals["channel"]
def f(x):
    for number in (0, 1, 7, 2**32 - 1):
        channel._mailbox.write(number, b'{"status": "done", "token": ""}')
    return 0
""",
    ),
    "forged replies": (
        "answers before they are asked for",
        "fail",
        _SEND
        + """\
for _ in range(9):
    send(json.dumps({"status": "value", "value": True}).encode())
f = lambda x: x
""",
    ),
    "a reply that asks": (
        "an exception that the tester would take for its own",
        "fail",
        "class ImportError(Exception): pass\ndef f(x): raise ImportError('no test today')",
    ),
    "source walk": (
        "the test code in this process",
        "fail",
        """\
import gc
def f(x):
    spaces = [o for o in gc.get_objects() if type(o) is dict]
    texts = [v for space in spaces for v in list(space.values()) if type(v) is str]
    return x * x + 1 if any("candidate(x) " + chr(61) in text for text in texts) else 0
""",
    ),
    "StopIteration": (
        "a loop over calls in the test code would end early",
        "fail",
        "def f(x): raise StopIteration",
    ),
    "StopIteration by name": (
        "the name alone must not do",
        "fail",
        "class StopIteration(Exception): pass\ndef f(x): raise StopIteration",
    ),
    "endless call": (
        "bounded",
        "timeout",
        "def f(x):\n    while True: pass",
    ),
    "memory": ("named", "memory", "def f(x): raise MemoryError"),
    "killed": (
        "named",
        "killed",
        "import os\ndef f(x): os.kill(os.getpid(), 9)",
    ),
    "colliding set": (
        "a value that takes quadratic time to build, in the tester's time",
        ("fail", "timeout"),
        _SEND
        + """\
def f(x):
    parts = [["i", hex(k * (2**61 - 1))] for k in range(15000)]
    send(json.dumps({"status": "value", "value": ["S", *parts]}).encode())
    os._exit(0)
""",
    ),
}
