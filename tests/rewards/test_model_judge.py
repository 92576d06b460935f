"""The model judge against a real HTTP server on this machine that answers, fails, stalls and lies."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rewards.model_judge import ModelJudge
from rlkit import Group, Sample, Task


class Endpoint(ThreadingHTTPServer):
    """Answers each request by what `behave(question text, number of the call)` returns, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, behave):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behave, self.asked, self.headers_seen = behave, [], []
        self.lock, self.released = threading.Lock(), threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.headers_seen.append((self.path, self.headers.get("Authorization")))
            number = len(self.server.asked)
        status, reply = self.server.behave(body["messages"][1]["content"], number)
        if reply is None:  # stalls until the test is over
            self.server.released.wait(60)
            return
        if status is None:  # no HTTP at all
            self.wfile.write(reply)
            return
        self.send_response(status)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args):
        pass


def verdict(answer, score, reason="because"):
    content = json.dumps({"answer": answer, "score": score, "reason": reason})
    return 200, json.dumps({"choices": [{"message": {"content": content}}]}).encode()


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("rewards.model_judge._RETRY_S", 0.01)
    servers = []

    def start(behave):
        server = Endpoint(behave)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.released.set()
        server.shutdown()
        server.server_close()


def make_group(*responses, version=1):
    samples = tuple(Sample(f"t#{i}", text, 10, policy_version=version) for i, text in enumerate(responses))
    return Group(Task("t", "math", "What is 1 + 1?", "2"), samples)


def judge(server, **arguments):
    return ModelJudge(server.url, "grader", **{"timeout_s": 20.0, **arguments})


RIGHT = "<think>1+1=2</think>\\boxed{2}"


def test_a_verdict_becomes_a_score_and_the_judge_sees_problem_reference_and_reply(serve):
    server = serve(lambda text, _: verdict("2", 8, "sound"))
    (score,) = judge(server).score(make_group(RIGHT))
    assert (score.value, score.reason, score.evidence) == (0.8, "sound", {"answer": "2", "score": 8.0})
    (asked,) = server.asked
    assert (asked["model"], asked["temperature"]) == ("grader", 0)
    shown = asked["messages"][1]["content"]
    assert all(part in shown for part in ("What is 1 + 1?", "Reference answer:\n2", RIGHT))
    assert server.headers_seen == [("/v1/chat/completions", None)]


def test_the_key_comes_from_the_environment(serve, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "for-this-test")
    server = serve(lambda *_: verdict("2", 8))
    judge(server, api_key_env="JUDGE_KEY").score(make_group(RIGHT))
    assert server.headers_seen[0][1] == "Bearer for-this-test"
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(ValueError, match="JUDGE_KEY is not set"):
        judge(server, api_key_env="JUDGE_KEY")


@pytest.mark.parametrize("opening", [":", "Thought process:", "Let's solve this step by step.", "\\boxed{}", " "])
def test_a_judge_that_is_fooled_by_an_opening_pays_nothing(serve, opening):
    # What fooled judges do: full marks, and the reference in the place of the answer that they did not find.
    server = serve(lambda *_: verdict("2", 10))
    (score,) = judge(server).score(make_group(opening))
    assert (score.value, score.verdict) == (0.0, "no_answer")


def test_the_copied_answer_must_not_be_empty(serve):
    server = serve(lambda *_: verdict(":", 10))
    assert judge(server).score(make_group(": " + RIGHT))[0].value == 0.0


def test_each_text_is_asked_about_once(serve):
    server = serve(lambda *_: verdict("2", 8))
    plugin = judge(server)
    assert [s.value for s in plugin.score(make_group(RIGHT, RIGHT, RIGHT + " "))] == [0.8] * 3
    assert [s.value for s in plugin.score(make_group(RIGHT))] == [0.8]
    assert len(server.asked) == 2


def test_scores_go_to_the_replies_that_they_are_for(serve):
    server = serve(lambda text, _: verdict("2", next(n for n in range(10) if f"reply {n} " in text)))
    replies = [f"reply {n} says \\boxed{{2}}" for n in (3, 1, 9, 0, 7)]
    assert [s.value for s in judge(server, concurrency=3).score(make_group(*replies))] == [0.3, 0.1, 0.9, 0.0, 0.7]


@pytest.mark.parametrize(
    "bad",
    [
        (500, b"overloaded"),
        (429, b""),
        (200, b"no json"),
        (200, b'{"choices": []}'),
        (200, json.dumps({"choices": [{"message": {"content": "I think it is fine."}}]}).encode()),
        (200, json.dumps({"choices": [{"message": {"content": "[]"}}]}).encode()),
        verdict("2", 11),
        verdict("2", "8"),
        verdict(2, 8),
        verdict("2", True),
        (200, b"x" * 2_000_000),
        (None, b"hello\r\n\r\n"),
        (None, b""),
    ],
)
def test_what_is_no_verdict_is_tried_again_and_then_unscored(serve, bad):
    flaky = serve(lambda _, number: bad if number == 1 else verdict("2", 8))
    assert judge(flaky, retries=1).score(make_group(RIGHT))[0].value == 0.8
    broken = serve(lambda *_: bad)
    plugin = judge(broken, retries=1)
    (score,) = plugin.score(make_group(RIGHT))
    assert (score.value, score.verdict) == (None, "judge_down")
    assert len(broken.asked) == 2
    # A failure is not remembered.
    plugin.score(make_group(RIGHT))
    assert len(broken.asked) == 4


def test_a_judge_that_is_not_there_leaves_replies_unscored(serve):
    server = serve(lambda *_: verdict("2", 8))
    plugin = judge(server, retries=0)
    server.shutdown()
    server.server_close()
    (score,) = plugin.score(make_group(RIGHT))
    assert (score.value, score.verdict) == (None, "judge_down")
    assert "refused" in score.reason


@pytest.mark.timeout(30)
def test_a_judge_that_stalls_costs_its_deadline_and_no_more(serve):
    server = serve(lambda text, _: (200, None) if "slow" in text else verdict("2", 8))
    slow, quick = judge(server, timeout_s=1.0, retries=5).score(make_group("slow \\boxed{2}", RIGHT))
    assert (slow.value, slow.verdict, quick.value) == (None, "judge_down", 0.8)


def test_the_budget_is_for_a_step(serve):
    server = serve(lambda *_: verdict("2", 8))
    plugin = judge(server, budget=2)
    replies = [f"{n} \\boxed{{2}}" for n in range(3)]
    assert [s.verdict for s in plugin.score(make_group(*replies))] == ["", "", "over_budget"]
    assert [s.value for s in plugin.score(make_group(replies[2]))] == [None]
    assert [s.value for s in plugin.score(make_group(replies[2], version=2))] == [0.8]
    assert len(server.asked) == 3


@pytest.mark.parametrize("reply", ["\ud800\x00 \\boxed{2}", "x" * 1_000_000 + "\\boxed{2}", "{}\"'\\ \\boxed{2}"])
def test_hostile_replies_reach_the_judge_as_data(serve, reply):
    server = serve(lambda *_: verdict("2", 8))
    assert judge(server).score(make_group(reply))[0].value == 0.8
    assert len(server.asked[0]["messages"][1]["content"]) < 21_000


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="base_url"):
        ModelJudge("localhost:8000", "m")
    with pytest.raises(ValueError, match="timeout_s"):
        ModelJudge("http://localhost/v1", "m", timeout_s=0)
