# SPDX-License-Identifier: Apache-2.0
"""A JSON-RPC client that shows what goes over the socket, times it, and holds each reply against what it should be."""

import json
import os
import signal
import socket
import sys
import time

COLOURS = {"heading": "1", "arrow": "2", "key": "34", "str": "32", "int": "33", "bool": "35", "NoneType": "35",
           "good": "32", "bad": "1;31"}
COLOURED = os.environ.get("DMRPC_DEMO_COLOUR") == "yes"
COLUMNS = int(os.environ.get("DMRPC_DEMO_COLUMNS", "100"))
TIMEOUT = 60  # seconds


class Mismatch(Exception):
    """Something is not as it should be."""


def paint(text, colour):
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if COLOURED else text


def show(text=""):
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Nobody reads on: what was made must still be removed, in silence.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


def plain(value):
    return json.dumps(value, ensure_ascii=False)


def inline(value):
    """JSON on one line, in colour."""
    if isinstance(value, dict):
        members = (f"{paint(plain(key), 'key')}: {inline(item)}" for key, item in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return paint(plain(value), type(value).__name__)


def fill(parts, indent):
    """Joins (text, width) with commas, as many on a line as it has room for; one with a line break stands alone."""
    text, used = "", 0
    for at, (part, width) in enumerate(parts):
        if at == 0:
            used = indent
        elif "\n" in part or "\n" in parts[at - 1][0] or used + 1 + width + 1 > COLUMNS:
            text += f",\n{' ' * indent}"
            used = indent
        else:
            text += ", "
            used += 1
        text += part
        used += width + 1
    return text


def lay_out(value, indent, beside=0):
    """JSON in colour, broken over lines where one has no room for it and the `beside` characters next to it."""
    if not value or not isinstance(value, (dict, list)) or indent + beside + len(plain(value)) <= COLUMNS:
        return inline(value)
    inner = indent + 2
    if isinstance(value, dict):
        opening, closing = "{}"
        parts = [(f"{paint(plain(key), 'key')}: {lay_out(item, inner, len(plain(key)) + 3)}",
                  len(plain(key)) + 2 + len(plain(item))) for key, item in value.items()]
    else:
        opening, closing = "[]"
        parts = [(lay_out(item, inner, 1), COLUMNS) for item in value]  # one a line
    return f"{opening}\n{' ' * inner}{fill(parts, inner)}\n{' ' * indent}{closing}"


def show_message(arrow, value):
    show(f"  {paint(arrow, 'arrow')} {lay_out(value, 6)}")


def differences(wanted, got, where):
    """Where `got` is not as `wanted`: a value, a type, a predicate, or a dict of these for the members that matter."""
    if isinstance(wanted, dict):
        if not isinstance(got, dict):
            return [f"{where} is no object: {got!r}"]
        missing = [f"{where}.{key} is missing" for key in wanted if key not in got]
        return missing + [found for key in wanted if key in got
                          for found in differences(wanted[key], got[key], f"{where}.{key}")]
    if isinstance(wanted, type):
        return [] if isinstance(got, wanted) else [f"{where} is no {wanted.__name__}: {got!r}"]
    if callable(wanted):
        return [] if wanted(got) else [f"{where} is not as it should be ({wanted.__name__}): {got!r}"]
    return [] if wanted == got else [f"{where} is {got!r}, not {wanted!r}"]


class Client:
    """One connection; its calls run one after another."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")
        self.count = 0
        self.times = []  # (method, seconds), in the order of the calls

    def close(self):
        self.lines.close()
        self.socket.close()

    def request(self, method, params=None):
        self.count += 1
        request = {"jsonrpc": "2.0", "id": self.count, "method": method}
        return request | {"params": params} if params else request

    def exchange(self, document, label):
        """Sends a request or a batch, and returns the reply; both are shown."""
        show_message("-->", document)
        before = time.perf_counter()
        try:
            self.socket.sendall(json.dumps(document).encode() + b"\n")
            line = self.lines.readline()
        except OSError as error:
            raise Mismatch(f"{label}: no reply from dmrpcd: {error}") from None
        self.times.append((label, time.perf_counter() - before))
        if not line:
            raise Mismatch(f"{label}: dmrpcd closed the connection instead of answering")
        reply = json.loads(line)
        show_message("<--", reply)
        return reply

    @staticmethod
    def judge(request, reply, wanted):
        """`wanted` speaks of the result, or is {"error": ...}. Returns the result."""
        whole = wanted if "error" in wanted else {"result": wanted}
        found = differences({"jsonrpc": "2.0", "id": request["id"], **whole}, reply, request["method"])
        if found:
            raise Mismatch("; ".join(found))
        return reply.get("result")

    def call(self, method, params=None, wanted=None):
        request = self.request(method, params)
        return self.judge(request, self.exchange(request, method), wanted or {})

    def batch(self, calls):
        """(method, params, wanted)... in one document. Returns the results."""
        requests = [self.request(method, params) for method, params, _ in calls]
        replies = self.exchange(requests, f"batch of {len(calls)}")
        if not isinstance(replies, list) or len(replies) != len(calls):
            raise Mismatch(f"a batch of {len(calls)} calls had another number of replies")
        return [self.judge(request, reply, wanted)
                for request, reply, (_, _, wanted) in zip(requests, replies, calls)]

    def try_quietly(self, method, params):
        """A call of the cleaning up, neither shown nor judged. The name of its error, or None."""
        self.socket.sendall(json.dumps(self.request(method, params)).encode() + b"\n")
        return json.loads(self.lines.readline()).get("error", {}).get("data", {}).get("error")
