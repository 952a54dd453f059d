# SPDX-License-Identifier: Apache-2.0
"""Each limit: settable, shown, kept to exactly, and what goes one past it is told so and harms nobody else."""

import json
import os
import pathlib
import socket
import time

import pytest

import dmrpc

SANITIZED = dmrpc.is_sanitized()

SLACK = 4096  # two calls of server_stats hold not quite the same themselves

# A value that is nobody's preset, for each limit.
OTHER = {
    "request_bytes": 2048, "depth": 7, "values": 99, "batch": 3, "reply_bytes": 8192, "total_bytes": 2 << 20,
    "connections": 9, "connections_per_user": 8, "unsent_bytes": 5000, "stall_seconds": 3, "workers": 2,
    "queued_calls": 17, "waits": 18, "subscriptions": 19, "event_bytes": 4097, "lease_seconds": 20}


def option(name):
    return "--" + name.replace("_", "-")


def call(method="version", ident=1, **members):
    return json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, **members}, separators=(",", ":"))


def padded(length):
    text = call(x="")
    return text[:-2] + "x" * (length - len(text)) + text[-2:]


def reply_and_end(client):
    """The one reply there is, and that the connection ends after it."""
    line = client.read_line()
    assert client.read_all() == b""
    return json.loads(line)


def answers(client, text):
    client.send(text)
    return json.loads(client.read_line())


def refused(reply, limit, name="invalid_request"):
    data = reply["error"]["data"]
    return data["error"] == name and data["limit"] == limit


def memory(daemon):
    """Resident, in KiB."""
    status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def held(client):
    """What the budget says that requests and replies hold: nearly nothing but this one."""
    return client.server_stats()["held_bytes"]


def until(what, seconds=10):
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert what()


# --- all of them ---

def test_every_limit_can_be_set_and_is_shown(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"limits": OTHER}))
    options = [word for name, value in OTHER.items() for word in (option(name), value)]
    for number, arguments in enumerate((options, ["--config", tmp_path / "c.json"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        with dmrpc.Daemon(folder, *arguments) as daemon, daemon.client() as client:
            assert client.server_info()["limits"] == OTHER


# --- one request ---

def test_bytes(tmp_path):
    with dmrpc.Daemon(tmp_path, "--request-bytes", 2000) as daemon, daemon.client() as client:
        for _ in range(3):  # each text is counted by itself
            assert "result" in answers(client, padded(2000))
        client.send(padded(2001))
        assert refused(reply_and_end(client), 2000)


def test_bytes_in_pieces(tmp_path):
    """The limit holds for what trickles in, and before the end is there."""
    with dmrpc.Daemon(tmp_path, "--request-bytes", 2000) as daemon, daemon.client() as client:
        for byte in padded(2002)[:2001]:
            client.send(byte)
        assert refused(reply_and_end(client), 2000)


def test_depth(tmp_path):
    with dmrpc.Daemon(tmp_path, "--depth", 10) as daemon, daemon.client() as client:
        deep = '{"jsonrpc":"2.0","id":1,"method":"version","x":%s%s}'
        assert "result" in answers(client, deep % ("[" * 9, "]" * 9))
        client.send(deep % ("[" * 10, "]" * 10))
        assert refused(reply_and_end(client), 10)


def test_values(tmp_path):
    with dmrpc.Daemon(tmp_path, "--values", 20) as daemon, daemon.client() as client:
        text = '{"jsonrpc":"2.0","id":1,"method":"version","x":[%s]}'
        # The object, its four members, fifteen items.
        assert "result" in answers(client, text % ",".join(["1"] * 15))
        client.send(text % ",".join(["1"] * 16))
        assert refused(reply_and_end(client), 20)


def test_batch(tmp_path):
    with dmrpc.Daemon(tmp_path, "--batch", 70) as daemon, daemon.client() as client:
        replies = answers(client, "[" + ",".join(call(ident=i) for i in range(70)) + "]")
        assert [reply["id"] for reply in replies] == list(range(70))
        assert refused(answers(client, "[" + ",".join([call()] * 71) + "]"), 70)
        assert client.version()  # the connection stays


def test_a_long_batch_is_whole_and_in_order(daemon):
    """It is served in parts, so that others have their turn; nobody sees that."""
    with daemon.client() as client, daemon.client() as other:
        count = 1000
        client.send("[" + ",".join(
            call("list_devices" if i % 7 == 0 else "version", i) for i in range(count)) + "]" + call(ident="after"))
        assert other.version()
        replies = json.loads(client.read_line())
        assert [reply["id"] for reply in replies] == list(range(count))
        assert all("result" in reply for reply in replies)
        assert json.loads(client.read_line())["id"] == "after"


# --- one reply ---

def test_reply_bytes(tmp_path):
    with dmrpc.Daemon(tmp_path) as daemon, daemon.client() as client:
        for i in range(60):
            client.device_create(name=f"device-{i:02}")
        client.send(call("list_devices"))
        length = len(client.read_line())
    for limit, fits in ((length, True), (length - 1, False)):
        with dmrpc.Daemon(tmp_path, "--reply-bytes", limit) as daemon, daemon.client() as client:
            for i in range(60):
                client.device_create(name=f"device-{i:02}")
            reply = answers(client, call("list_devices"))
            assert ("result" in reply) == fits
            assert fits or refused(reply, limit, "reply_too_large")
            assert client.version()


# --- connections ---

def take_places(daemon, count):
    """Connections that are served. One that was closed a moment ago may still hold a place: try again."""
    places = []

    def take():
        client = daemon.client()
        client.send(call())
        line = client.read_line()
        if line and "result" in json.loads(line):
            places.append(client)
        else:
            client.close()
        return len(places) == count

    until(take)
    return places


@pytest.mark.parametrize("name, whose", [("connections", ""), ("connections_per_user", " of this user")])
def test_connections(tmp_path, name, whose):
    with dmrpc.Daemon(tmp_path, option(name), 3) as daemon:
        places = take_places(daemon, 3)
        with daemon.client() as extra:
            reply = reply_and_end(extra)
            assert refused(reply, 3, "overloaded") and whose in reply["error"]["message"]
        for client in places:
            assert client.version()
        places.pop().close()
        places += take_places(daemon, 1)
        for client in places:
            client.close()


def test_a_refused_connection_hears_why_though_it_has_sent(tmp_path):
    """A close with input unread would be a reset, and might take the reply with it."""
    with dmrpc.Daemon(tmp_path, "--connections", 1) as daemon:
        (place,) = take_places(daemon, 1)
        for _ in range(300):
            with daemon.client() as extra:
                try:
                    extra.send(call() * 3)
                except BrokenPipeError:
                    pass  # it has been answered already
                assert refused(reply_and_end(extra), 1, "overloaded")
        assert place.version()
        place.close()


def test_refused_connections_are_bounded_and_go(tmp_path):
    with dmrpc.Daemon(tmp_path, "--connections", 1) as daemon:
        (place,) = take_places(daemon, 1)
        folder = f"/proc/{daemon.process.pid}/fd"
        before = len(os.listdir(folder))
        extras = [daemon.client() for _ in range(300)]  # they never close, nor read
        place.version()
        assert len(os.listdir(folder)) <= before + 64 + 1  # one more is being turned away just now
        assert place.version()
        until(lambda: len(os.listdir(folder)) <= before)
        for client in [place, *extras]:
            client.close()


# --- all memory together ---

def test_total_bytes(tmp_path):
    limit = 4 << 20
    with dmrpc.Daemon(tmp_path, "--total-bytes", limit) as daemon, daemon.client() as other:
        before = held(other)
        clients = []
        told = 0
        for _ in range(12):  # each sends half a request of a megabyte
            client = daemon.client()
            clients.append(client)
            try:
                client.send(padded(1 << 20)[:-1])
                client.drained()
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert other.version()  # and others go on
        for client in clients:
            try:
                client.send("}")
                told += json.loads(client.read_line()).get("error", {}).get("data", {}).get("error") == "overloaded"
            except (BrokenPipeError, ConnectionResetError):
                told += 1
            assert other.version()
        assert 0 < told <= 12
        for client in clients:
            client.close()
        until(lambda: held(other) <= before + SLACK)
        with daemon.client() as client:
            assert "result" in answers(client, padded(1 << 20))


def test_a_tree_is_counted(tmp_path):
    """A megabyte of `{},` is eighty in the parser's memory: it is refused before it is parsed."""
    with dmrpc.Daemon(tmp_path, "--total-bytes", 16 << 20) as daemon, daemon.client() as client:
        text = '{"jsonrpc":"2.0","id":1,"method":"version","x":[%s{}]}'
        assert "result" in answers(client, text % ("{}," * 30000))
        until(lambda: held(client) < SLACK)  # a long text is freed a moment later
        before = memory(daemon)
        reply = answers(client, text % ("{}," * 200000))
        assert reply["error"]["data"]["error"] == "overloaded"
        assert SANITIZED or memory(daemon) < before + 8000
        assert client.version()


def test_many_trees_stay_within_the_limit(tmp_path):
    """What many hostile requests make the daemon use is bounded by total_bytes, not by their number."""
    limit = 64 << 20
    with dmrpc.Daemon(tmp_path, "--total-bytes", limit) as daemon:
        text = '{"jsonrpc":"2.0","id":1,"method":"version","x":[%s{}]}' % ("{}," * 60000)
        clients = [daemon.client() for _ in range(4 if SANITIZED else 24)]
        for client in clients:
            client.send(text)
        most = 0
        for client in clients:
            most = max(most, memory(daemon))
            reply = json.loads(client.read_line())
            assert "result" in reply or reply["error"]["data"]["error"] == "overloaded"
        assert SANITIZED or most < (limit >> 10) + 40000
        until(lambda: held(clients[0]) < 100000)
        for client in clients:
            client.close()


# --- who does not read ---

def test_unsent_bytes(tmp_path):
    """Who does not read is not read from: the daemon holds little, and all is answered in the end."""
    with dmrpc.Daemon(tmp_path, "--unsent-bytes", 4096) as daemon, daemon.client() as client:
        count = 400
        client.send("".join(call("rpc.discover", i) for i in range(count)))
        with daemon.client() as other:
            until(lambda: held(other) > 4096)
            time.sleep(0.3)  # time enough to answer them all, were there no limit
            assert held(other) < 1 << 20  # the replies together are 40 MB
            assert dmrpc.is_sanitized() or other.server_info()["memory"]["resident_bytes"] < 30 << 20
        client.socket.shutdown(socket.SHUT_WR)
        lines = client.read_all().splitlines()
        assert [json.loads(line)["id"] for line in lines] == list(range(count))


def test_stall_seconds(tmp_path):
    with dmrpc.Daemon(tmp_path, "--stall-seconds", 1, "--unsent-bytes", 4096) as daemon:
        with daemon.client() as client, daemon.client() as other:
            client.send(call("rpc.discover") * 100)
            until(lambda: other.server_stats()["held_bytes"] > 4096)
            for _ in range(12):  # a little now and then is progress
                time.sleep(0.25)
                assert client.socket.recv(400000)
            until(lambda: held(other) < 4096 * 4, 15)  # it was closed, and what it was owed is gone
            data = b""
            try:
                data = client.read_all()
            except ConnectionResetError:
                pass
            assert data.count(b"\n") < 100


# --- who sends slowly ---

def test_slow_senders_keep_only_their_own_buffer(tmp_path):
    with dmrpc.Daemon(tmp_path) as daemon, daemon.client() as other:
        before = held(other)
        slow = [daemon.client() for _ in range(100)]
        text = padded(600)
        for at in range(0, 600, 60):
            for client in slow:
                client.send(text[at:at + 60])
            assert other.version()
            if at < 540:
                slow[-1].drained()
                assert held(other) <= before + 100 * 65536 + SLACK
        for client in slow:
            assert "result" in json.loads(client.read_line())
        until(lambda: held(other) <= before + SLACK)
        for client in slow:
            client.close()


def test_idle_buffers_are_given_back(tmp_path):
    """Each of many connections had half a megabyte in hand; once that is served nothing of it stays."""
    count = 20 if SANITIZED else 200
    with dmrpc.Daemon(tmp_path, "--connections-per-user", 500, "--total-bytes", 1 << 30) as daemon:
        with daemon.client() as other:
            clients = [daemon.client() for _ in range(count)]
            for client in clients:
                client.version()
            before, budget = memory(daemon), held(other)
            text = padded(1 << 20)
            for client in clients:
                client.send(text[:1 << 19])
            clients[-1].drained()
            full = memory(daemon)
            assert full > before + count * 400
            for client in clients:
                client.send(text[1 << 19:])
                assert "result" in json.loads(client.read_line())
            until(lambda: held(other) <= budget + SLACK)
            assert SANITIZED or memory(daemon) < before + (full - before) // 5
            for client in clients:
                client.close()


# --- workers ---

def test_workers_and_queued_calls(tmp_path):
    with dmrpc.Daemon(tmp_path, "--workers", 1, "--queued-calls", 2) as daemon, daemon.client() as client:
        client.device_create(name="d")
        fault = client.simulate_fault_add(ioctl="DM_LIST_DEVICES", held=True, calls=2)["fault"]
        waiting = [daemon.client() for _ in range(2)]
        for other in waiting:
            other.send(call("list_devices"))
            other.drained()
        until(lambda: client.server_stats()["workers_busy"] >= 1)
        with daemon.client() as third:
            assert refused(answers(third, call("list_devices")), 2, "overloaded")
            assert third.version()
        client.simulate_fault_remove(fault=fault)
        for other in waiting:
            assert "result" in json.loads(other.read_line())
            other.close()
