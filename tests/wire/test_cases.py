# SPDX-License-Identifier: Apache-2.0
"""The cases of tests/data, each whole, cut at every byte, and with other requests around it."""

import json
import pathlib
import re
import socket

import pytest

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
NAMES = sorted(str(path.relative_to(DATA).with_suffix("")) for path in DATA.glob("*/*.in"))
MANY = 300  # a longer case is not cut at every byte, but at about this many places
VERSION = '{"jsonrpc":"2.0","id":%s,"method":"version"}'
ID = re.compile(rb'"jsonrpc":"2\.0","id":("(?:[^"\\]|\\.)*"|[^,]*),')


class Case:
    def __init__(self, name):
        self.input = (DATA / f"{name}.in").read_bytes()
        lines = (DATA / f"{name}.out").read_text().splitlines()
        self.half_close = lines[:1] == ["half-close"]
        self.closed = lines[-1:] == ["closed"]
        self.replies = [json.loads(line) for line in lines if line not in ("half-close", "closed")]


def matches(expected, actual):
    """Whether all that is expected is there: members by name, arrays item by item."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(
            key in actual and matches(value, actual[key]) for key, value in expected.items())
    if isinstance(expected, list):
        return (isinstance(actual, list) and len(actual) == len(expected)
                and all(map(matches, expected, actual)))
    return type(expected) is type(actual) and expected == actual


def check(expected, line):
    """Holds one reply against one expected line. Ids are compared by their bytes."""
    wanted = expected if isinstance(expected, list) else [expected]
    ids = [match.decode() for match in ID.findall(line)]
    assert ids == [reply["id"] for reply in wanted], line
    # What Python's parser makes of an id does not matter: the bytes have been compared.
    actual = json.loads(ID.sub(rb'"id":0,', line))
    for reply in wanted:
        assert ("result" in reply) != ("error" in reply)
    stripped = [{key: value for key, value in reply.items() if key != "id"} for reply in wanted]
    assert matches(stripped if isinstance(expected, list) else stripped[0], actual), line


def expect(client, case):
    for reply in case.replies:
        check(reply, client.read_line())


@pytest.mark.parametrize("name", NAMES)
def test_whole_then_end(shared_daemon, name):
    case = Case(name)
    with shared_daemon.client() as client:
        client.send(case.input)
        client.socket.shutdown(socket.SHUT_WR)
        expect(client, case)
        assert client.read_all() == b""


@pytest.mark.parametrize("name", NAMES)
def test_connection_afterwards(shared_daemon, name):
    """Open and of use, unless the case says closed."""
    case = Case(name)
    if case.half_close:
        return
    with shared_daemon.client() as client:
        client.send(case.input + b"\n")
        expect(client, case)
        if case.closed:
            assert client.read_all() == b""
        else:
            assert client.call("version")["version"]["major"] == 4


@pytest.mark.parametrize("name", NAMES)
def test_among_others(shared_daemon, name):
    case = Case(name)
    with shared_daemon.client() as client:
        after = "" if case.half_close else VERSION % '"after"'
        client.send((VERSION % '"before"').encode() + case.input + b"\n" + after.encode())
        client.socket.shutdown(socket.SHUT_WR)
        ok = {"result": {"version": {"major": 4}}}
        check({"id": '"before"', **ok}, client.read_line())
        expect(client, case)
        if not case.closed and not case.half_close:
            check({"id": '"after"', **ok}, client.read_line())
        assert client.read_all() == b""


@pytest.mark.parametrize("name", NAMES)
def test_cut_at_every_byte(shared_daemon, name):
    case = Case(name)
    step = max(1, len(case.input) // MANY)
    for cut in range(1, len(case.input), step):
        with shared_daemon.client() as client:
            client.send(case.input[:cut])
            client.drained()
            try:
                client.send(case.input[cut:])
                client.socket.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, OSError):
                assert case.closed
            expect(client, case)
            assert client.read_all() == b""


def test_byte_by_byte(shared_daemon):
    """A request that trickles in is served like any other."""
    with shared_daemon.client() as client:
        for byte in (VERSION % 1).encode():
            client.send(bytes([byte]))
            client.drained()
        assert json.loads(client.read_line())["id"] == 1


def test_cases_are_complete():
    for name in NAMES:
        assert (DATA / f"{name}.out").exists(), f"{name} has no .out"
    for path in DATA.glob("*/*.out"):
        assert path.with_suffix(".in").exists(), f"{path} has no .in"
    assert len(NAMES) > 100
