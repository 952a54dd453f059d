# SPDX-License-Identifier: Apache-2.0
"""server_stats: each number moves when, and only when, what it counts happens."""

import json
import time

import pytest

import dmrpc

ZERO = {"start": 0, "length": 2048, "type": "zero", "params": ""}


def flat(stats):
    """All numbers that only grow, by a name such as `calls/version/ended`."""
    numbers = {name: stats[name] for name in ("limited", "waits_abandoned", "connections_accepted",
                                              "connections_refused")}
    numbers["measured"] = stats["duration"]["count"]
    for row in stats["calls"]:
        numbers[f"calls/{row['method']}"] = row["ended"]
        numbers[f"failed/{row['method']}"] = row["failed"]
    for row in stats["errors"]:
        numbers[f"errors/{row['error']}"] = row["given"]
    return numbers


class Watch:
    """What has moved since the last look, but the looks themselves."""

    def __init__(self, client):
        self.client = client
        self.last = flat(client.server_stats())

    def moved(self):
        now = flat(self.client.server_stats())
        diff = {name: now[name] - self.last[name] for name in now if now[name] != self.last[name]}
        self.last = now
        # The look before this one has ended since.
        for name in ("calls/server_stats", "measured"):
            diff[name] -= 1
        return {name: count for name, count in diff.items() if count}


@pytest.fixture
def watch(client):
    return Watch(client)


def raw(client, text, replies=1):
    client.send(text)
    return [json.loads(client.read_line()) for _ in range(replies)]


def make(client, name):
    client.device_create(name=name)
    client.table_load(name=name, targets=[ZERO])
    client.device_resume(name=name)


def protocol(client, name):
    return next(row for row in client.server_stats()["connections"] if row["protocol"] == name)


def settle(look, value):
    """Waits until a number is this: what another connection causes comes a moment later."""
    deadline = time.monotonic() + dmrpc.TIMEOUT
    while look() != value:
        assert time.monotonic() < deadline, f"it is not {value}"
        time.sleep(0.005)


def until(client, name, value):
    settle(lambda: client.server_stats()[name], value)


def until_open(client, name, value):
    settle(lambda: protocol(client, name)["open"], value)


def test_a_server_that_has_done_nothing(daemon, client):
    stats = client.server_stats()
    numbers = flat(stats)
    accepted = numbers.pop("connections_accepted")
    assert accepted == 2  # the daemon's own test whether it listens, and this one
    assert set(numbers.values()) == {0}
    info = client.server_info()
    assert stats["build"] == {name: info[name] for name in ("version", "api", "backend")}
    assert abs(stats["start_time_seconds"] - time.time()) < 60
    assert stats["workers_limit"] == info["limits"]["workers"]
    assert stats["held_limit_bytes"] == info["limits"]["total_bytes"]
    assert stats["pending"] == stats["waits"] == stats["workers"] == stats["workers_busy"] == 0
    assert daemon.process.poll() is None


def test_every_method_and_every_error_has_its_row(client):
    document = client.call("rpc.discover")
    stats = client.server_stats()
    assert [row["method"] for row in stats["calls"]] == sorted(method["name"] for method in document["methods"])
    assert [row["error"] for row in stats["errors"]] == list(document["components"]["errors"])


def test_calls(watch):
    watch.client.version()
    assert watch.moved() == {"calls/version": 1, "measured": 1}
    make(watch.client, "d")
    assert watch.moved() == {"calls/device_create": 1, "calls/table_load": 1, "calls/device_resume": 1, "measured": 3}
    watch.client.list_devices()
    watch.client.list_devices()
    assert watch.moved() == {"calls/list_devices": 2, "measured": 2}
    assert watch.moved() == {}


def test_errors(watch):
    for _ in range(2):
        with pytest.raises(dmrpc.RpcError, match="no such device"):
            watch.client.device_status(name="none")
    assert watch.moved() == {"calls/device_status": 2, "failed/device_status": 2, "errors/device_not_found": 2,
                             "measured": 2}
    with pytest.raises(dmrpc.RpcError):
        watch.client.version(a=1)
    assert watch.moved() == {"calls/version": 1, "failed/version": 1, "errors/invalid_params": 1, "measured": 1}
    with pytest.raises(dmrpc.RpcError):
        watch.client.nix()
    assert watch.moved() == {"errors/method_not_found": 1}


def test_what_is_no_call(watch):
    raw(watch.client, '{"a":01}')
    assert watch.moved() == {"errors/parse_error": 1}
    raw(watch.client, "5 ")
    assert watch.moved() == {"errors/invalid_request": 1}
    raw(watch.client, "[]")
    assert watch.moved() == {"errors/invalid_request": 1}


def test_notifications(watch):
    watch.client.send('{"jsonrpc":"2.0","method":"version"}'
                      '{"jsonrpc":"2.0","method":"version","params":{"a":1}}'
                      '{"jsonrpc":"2.0","method":"device_remove","params":{"name":"none"}}'
                      '{"jsonrpc":"2.0","method":"nix"}')
    assert watch.moved() == {
        "calls/version": 2, "failed/version": 1, "errors/invalid_params": 1, "calls/device_remove": 1,
        "failed/device_remove": 1, "errors/device_not_found": 1, "errors/method_not_found": 1, "measured": 3}


def test_batch(watch):
    member = {"jsonrpc": "2.0", "id": 1}
    batch = [{**member, "method": "version"}, {"jsonrpc": "2.0", "method": "version"}, 1,
             {**member, "method": "list_devices"}, {**member, "method": "device_wait"}]
    (replies,) = raw(watch.client, json.dumps(batch))
    assert len(replies) == 4
    assert watch.moved() == {"calls/version": 2, "calls/list_devices": 1, "calls/device_wait": 1,
                             "failed/device_wait": 1, "errors/invalid_request": 2, "measured": 4}


def test_limits(tmp_path):
    with dmrpc.Daemon(tmp_path, "--batch", 2, "--depth", 4, "--reply-bytes", 8192) as daemon:
        with daemon.client() as client, daemon.client() as other:
            watch = Watch(client)
            raw(other, "[1,2,3]")
            assert watch.moved() == {"errors/invalid_request": 1, "limited": 1}
            with pytest.raises(dmrpc.RpcError):
                other.call("rpc.discover")
            assert watch.moved() == {"calls/rpc.discover": 1, "failed/rpc.discover": 1, "errors/reply_too_large": 1,
                                     "limited": 1, "measured": 1}
            raw(other, "[[[[[[")
            assert watch.moved() == {"errors/invalid_request": 1, "limited": 1}


def test_connections(daemon, client):
    until_open(client, "raw", 1)  # the daemon's own test whether it listens has gone
    watch = Watch(client)
    with daemon.client() as other:
        other.version()
        assert protocol(client, "raw")["open"] == 2
        assert watch.moved()["connections_accepted"] == 1
    until_open(client, "raw", 1)
    assert "connections_accepted" not in watch.moved()
    assert protocol(client, "http") == {"protocol": "http", "open": 0, "received_bytes": 0, "sent_bytes": 0}


def test_refused_connection(tmp_path):
    with dmrpc.Daemon(tmp_path, "--connections", 2) as daemon, daemon.client() as client:
        until_open(client, "raw", 1)
        with daemon.client() as other:
            other.version()
            watch = Watch(client)
            with daemon.client() as refused:
                assert json.loads(refused.read_line())["error"]["data"]["error"] == "overloaded"
            assert watch.moved() == {"connections_refused": 1, "errors/overloaded": 1, "limited": 1}


def test_bytes(client):
    first = protocol(client, "raw")
    size = len(json.dumps(client.request("server_stats", {}, client.count + 1))) + 1
    second = protocol(client, "raw")
    assert second["received_bytes"] - first["received_bytes"] == size
    assert second["sent_bytes"] > first["sent_bytes"] + 1000
    client.send(" " * 1000)
    third = protocol(client, "raw")
    assert third["received_bytes"] - second["received_bytes"] == size + 1000


def test_waits(daemon, client, watch):
    make(client, "d")
    watch.moved()
    waiting = daemon.client()
    begun = time.monotonic()
    ident = waiting.start("device_wait", name="d", event_nr=0)
    until(client, "waits", 1)
    time.sleep(0.3)
    watch.moved()
    client.simulate_event(name="d")
    waiting.finish(ident)
    until(client, "waits", 0)
    moved = watch.moved()
    assert moved["calls/device_wait"] == 1
    # What it spent in waiting is not in the durations.
    assert client.server_stats()["duration"]["sum_ns"] < (time.monotonic() - begun) * 1e9
    waiting.start("device_wait", name="d", event_nr=1)
    until(client, "waits", 1)
    watch.moved()
    waiting.close()
    until(client, "waits", 0)
    moved = watch.moved()
    assert moved["waits_abandoned"] == 1 and "calls/device_wait" not in moved


def test_load(daemon, client):
    make(client, "d")
    fault = client.simulate_fault_add(ioctl="DM_DEV_REMOVE", held=True)["fault"]
    with daemon.client() as other:
        ident = other.start("device_remove", name="d")
        until(client, "workers_busy", 1)
        stats = client.server_stats()
        assert stats["pending"] == 1 and stats["workers"] >= 1 and stats["held_bytes"] > 0
        client.simulate_fault_remove(fault=fault)
        other.finish(ident)

    def looks():
        stats = client.server_stats()
        return stats["pending"], stats["workers_busy"], stats["workers"] > 0

    settle(looks, (0, 0, True))  # a thread that has nothing to do stays for a while


def test_durations(client):
    client.simulate_fault_add(ioctl="DM_LIST_DEVICES", block_ms=80)
    client.list_devices()
    duration = client.server_stats()["duration"]
    counts = [bucket["count"] for bucket in duration["buckets"]]
    assert counts == sorted(counts) and counts[-1] == duration["count"] == 2
    assert duration["sum_ns"] >= 75_000_000  # clocks of whole milliseconds may end it a little early
    slow = {bucket["up_to_ns"]: bucket["count"] for bucket in duration["buckets"]}
    assert slow[50_000_000] == 1  # the other call
