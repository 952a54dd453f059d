# SPDX-License-Identifier: Apache-2.0
"""Events: notifications on raw connections, server-sent events over HTTP, and what becomes of slow readers."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import time

import pytest

import dmrpc
from dmrpc import BUSY_MS, RpcError
from listener import Listener, check, drain, judge

ZERO = [{"start": 0, "length": 8, "type": "zero", "params": ""}]


class Stream:
    """GET /events, read as it comes."""

    def __init__(self, daemon, query="", version="1.1", method="GET"):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(dmrpc.TIMEOUT)
        self.socket.connect(str(daemon.socket))
        self.socket.sendall(f"{method} /events{query} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while (line := self.file.readline().strip()):
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value
        self.text = b""
        self.ended = False

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def more(self):
        if self.headers.get("transfer-encoding") != "chunked":
            data = self.file.read1(65536)
        else:
            size = int(self.file.readline(), 16)
            data = self.file.read(size)
            self.file.readline()
        self.ended = self.ended or not data
        self.text += data

    def block(self):
        """The next lines up to an empty one."""
        while b"\n\n" not in self.text and not self.ended:
            self.more()
        block, _, self.text = self.text.partition(b"\n\n")
        return block.decode()

    def next(self):
        block = self.block()
        match = re.fullmatch(r"id: (\S+)/(\d+)\nevent: (\w+)\ndata: (.*)", block)
        assert match, block
        event = check(json.loads(match[4]))
        assert (event["instance"], event["seq"], event["kind"]) == (match[1], int(match[2]), match[3])
        assert "subscription" not in event
        return event


@contextlib.contextmanager
def running(tmp_path, *args):
    with dmrpc.Daemon(tmp_path, *args) as daemon:
        yield daemon


@pytest.fixture
def listener(daemon):
    with Listener(daemon) as listener:
        yield listener


def make(client, name, **params):
    """A device with a live table."""
    info = client.device_create(name=name, **params)
    client.table_load(name=name, targets=ZERO)
    client.device_resume(name=name)
    return info


def until(condition, seconds=dmrpc.TIMEOUT):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_every_kind(client, listener):
    info = make(client, "a", uuid="U-A")
    opened = listener.events_subscribe()
    assert opened["devices"] == client.list_devices()["devices"]
    assert opened["instance"] == client.server_info()["instance"]
    client.device_create(name="b")
    about = {key: info[key] for key in ("name", "uuid", "device", "event_nr")}
    added = listener.next()
    assert added["kind"] == "added" and added["name"] == "b" and "uuid" not in added
    assert added["subscription"] == opened["subscription"] and added["instance"] == opened["instance"]
    client.device_suspend(name="a", flags=["DM_SUSPEND"])
    event = listener.next()
    assert event["kind"] == "suspended" and about.items() <= event.items()
    client.device_resume(name="a")
    event = listener.next()
    assert event["kind"] == "resumed" and about.items() <= event.items()
    client.simulate_event(name="a")
    event = listener.next()
    assert event["kind"] == "changed" and {**about, "event_nr": 1}.items() <= event.items()
    client.device_rename(name="a", new_name="c")
    event = listener.next()
    assert {**about, "kind": "renamed", "event_nr": 2, "name": "c", "old_name": "a"}.items() <= event.items()
    client.device_remove(name="c")
    event = listener.next()
    assert {**about, "kind": "removed", "event_nr": 2, "name": "c"}.items() <= event.items()
    assert event["seq"] == opened["seq"] + 6
    assert listener.is_silent()


def test_a_new_uuid_is_a_change(client, listener):
    make(client, "a")
    listener.events_subscribe()
    client.device_set_uuid(name="a", uuid="U-NEW")
    event = listener.next()
    assert event["kind"] == "changed" and event["uuid"] == "U-NEW"


def test_a_new_uuid_that_is_asked_for_is_a_new_device(client, listener):
    """To who asks for uuids the device was not there before, whatever it was called."""
    info = make(client, "a")
    make(client, "b")
    listener.events_subscribe(uuid="VOL-*")
    client.device_set_uuid(name="b", uuid="OTHER-1")
    client.device_set_uuid(name="a", uuid="VOL-9")
    event = listener.next()
    assert event["kind"] == "added" and event["uuid"] == "VOL-9" and event["device"] == info["device"]
    # With a new name in the same list.
    fault = client.simulate_fault_add(ioctl="DM_LIST_DEVICES", held=True)["fault"]
    make(client, "c")
    client.device_set_uuid(name="c", uuid="VOL-10")
    client.device_rename(name="c", new_name="d")
    client.simulate_fault_remove(fault=fault)
    event = listener.next()
    while event["kind"] == "resumed":
        event = listener.next()
    assert event["kind"] == "added" and event["name"] == "d" and "old_name" not in event
    assert listener.is_silent()


def test_the_end_of_a_call_that_was_given_up(client, listener):
    info = make(client, "a", uuid="U-A")
    listener.events_subscribe(uuid="U-*", kinds=["call_ended"])
    client.simulate_stall(name="a", freeze=True)
    with pytest.raises(RpcError) as caught:
        client.device_suspend(uuid="U-A", flags=["DM_SUSPEND"], timeout_ms=BUSY_MS)
    assert caught.value.data["state"] == "still running"
    assert listener.is_silent()
    client.simulate_stall(name="a")
    event = listener.next()
    about = {"kind": "call_ended", "call": caught.value.data["call"], "method": "device_suspend", "name": "a",
             "uuid": "U-A", "device": info["device"], "error": "cancelled"}
    assert about.items() <= event.items()

    # A read, which is about what it was asked for; it is carried out.
    fault = client.simulate_fault_add(ioctl="DM_TABLE_STATUS", held=True)["fault"]
    with pytest.raises(RpcError) as caught:
        client.table_status(uuid="U-A", timeout_ms=BUSY_MS)
    client.simulate_fault_remove(fault=fault)
    event = listener.next()
    assert {"call": caught.value.data["call"], "method": "table_status", "uuid": "U-A"}.items() <= event.items()
    assert "error" not in event and "state" not in event


def test_a_swap_is_a_resume(client, listener):
    make(client, "a")
    listener.events_subscribe(name="a")
    client.table_load(name="a", targets=[{**ZERO[0], "length": 16}])
    client.device_resume(name="a")
    assert listener.kinds(1) == ["resumed"] and listener.is_silent()


def test_a_failed_call_is_no_event(client, listener):
    client.device_create(name="a")
    listener.events_subscribe()
    with pytest.raises(RpcError):
        client.device_suspend(name="a", flags=["DM_SUSPEND"])
    with pytest.raises(RpcError):
        client.device_resume(name="a")
    assert listener.is_silent()


def test_a_device_made_anew_between_two_lists(client, listener):
    make(client, "a")
    first = listener.events_subscribe()["devices"][0]
    client.simulate_event(name="a")
    old = listener.next()
    fault = client.simulate_fault_add(ioctl="DM_LIST_DEVICES", held=True)["fault"]
    client.device_create(name="wakes")
    time.sleep(0.05)
    client.device_remove(name="a")
    make(client, "a", minor=first["device"]["minor"], flags=["DM_PERSISTENT_DEV"])
    client.simulate_event(name="a")
    client.simulate_fault_remove(fault=fault)
    assert listener.next()["kind"] == "resumed"
    events = [listener.next() for _ in range(3)]
    assert [(event["kind"], event["name"]) for event in events] == [("removed", "a"), ("added", "a"), ("added", "wakes")]
    removed, added = events[:2]
    assert removed["device"] == added["device"] and removed["event_nr"] == added["event_nr"] == old["event_nr"]
    assert removed["diskseq"] == old["diskseq"] < added["diskseq"]


def test_a_wait_hears_of_a_device_made_anew(client, daemon):
    info = make(client, "a")
    with daemon.client() as other:
        wait = other.start("device_wait", name="a", event_nr=info["event_nr"])
        other.drained()
        fault = client.simulate_fault_add(ioctl="DM_LIST_DEVICES", held=True)["fault"]
        client.device_create(name="wakes")
        time.sleep(0.05)
        client.device_remove(name="a")
        make(client, "a", minor=info["device"]["minor"], flags=["DM_PERSISTENT_DEV"])
        client.simulate_fault_remove(fault=fault)
        with pytest.raises(RpcError) as error:
            other.finish(wait)
        assert error.value.name == "device_not_found"


def test_renames_in_a_circle(client, listener):
    for name in ("a", "b"):
        make(client, name)
    listener.events_subscribe()
    fault = client.simulate_fault_add(ioctl="DM_LIST_DEVICES", held=True)["fault"]
    for old, new in (("a", "t"), ("b", "a"), ("t", "b")):
        client.device_rename(name=old, new_name=new)
    client.simulate_fault_remove(fault=fault)
    events = []
    while {event["name"]: event["old_name"] for event in events} != {"a": "b", "b": "a"}:
        events = [event for event in events + [listener.next()] if event["name"] != "t"]
        assert events[-1:] == [] or events[-1]["kind"] == "renamed"
        if len(events) > 1 and events[-1]["old_name"] == "t":
            events[-1]["old_name"] = "a"
    assert listener.is_silent()


def test_filters(client, daemon):
    with contextlib.ExitStack() as stack:
        def listen(**params):
            listener = stack.enter_context(Listener(daemon))
            opened = listener.events_subscribe(**params)
            return listener, [device["name"] for device in opened["devices"]]

        for name, uuid in (("vg-a", "LVM-1"), ("vg-b", None), (".x", "P/Q")):
            client.device_create(name=name, **({"uuid": uuid} if uuid else {}))
        every, names = listen()
        assert names == ["vg-a", "vg-b", ".x"]
        vg, names = listen(name="vg-*")
        assert names == ["vg-a", "vg-b"]
        lvm, names = listen(uuid="LVM-*")
        assert names == ["vg-a"]
        dot, names = listen(name="*x", uuid="*Q")
        assert names == [".x"]
        renamed, names = listen(kinds=["renamed", "removed"], snapshot=False)
        assert names == []
        one, names = listen(name="vg-?", uuid="LVM-[12]")
        assert names == ["vg-a"]

        client.device_rename(name="vg-a", new_name="other")
        client.device_create(name="vg-c")
        client.device_remove(name=".x")

        def told(listener, count):
            return sorted((event["kind"], event["name"]) for event in [listener.next() for _ in range(count)])

        # A rename of a device without a table is seen with the next event, and not told from a new device.
        seen = told(every, 4)
        assert ("added", "vg-c") in seen and ("removed", ".x") in seen
        assert told(dot, 1) == [("removed", ".x")]
        assert ("added", "vg-c") in told(vg, 2)
        assert lvm.next()["uuid"] == "LVM-1"
        assert {renamed.next()["kind"] for _ in range(1)} <= {"renamed", "removed"}
        assert one.next()["name"] in ("vg-a", "other")


def test_a_rename_concerns_both_names(client, daemon):
    make(client, "from")
    with Listener(daemon) as old, Listener(daemon) as new, Listener(daemon) as other:
        old.events_subscribe(name="from")
        new.events_subscribe(name="t?")
        other.events_subscribe(name="x")
        client.device_rename(name="from", new_name="to")
        for listener in (old, new):
            event = listener.next()
            assert (event["kind"], event["old_name"], event["name"]) == ("renamed", "from", "to")
        assert other.is_silent()


@pytest.mark.parametrize("params, path", [
    ({"kinds": ["added", "exploded"]}, "/kinds/1"), ({"kinds": ["snapshot"]}, "/kinds/0"), ({"kinds": []}, "/kinds"),
    ({"name": ""}, "/name"), ({"uuid": "x" * 256}, "/uuid"), ({"snapshot": 1}, "/snapshot"), ({"x": 1}, "/x")])
def test_params_that_do_not_fit(client, params, path):
    with pytest.raises(RpcError) as error:
        client.events_subscribe(**params)
    assert error.value.name == "invalid_params" and error.value.data["path"] == path
    assert client.server_stats()["subscriptions"] == 0


def test_a_glob_that_would_take_long_does_not(client, listener):
    client.device_create(name="a" * 127)
    began = time.monotonic()
    listener.events_subscribe(name="*a" * 120 + "b")
    assert time.monotonic() - began < 1


def test_in_a_batch_it_is_refused(client):
    client.send(json.dumps([{"jsonrpc": "2.0", "id": 1, "method": "events_subscribe"},
                            {"jsonrpc": "2.0", "id": 2, "method": "version"}]) + "\n")
    first, second = json.loads(client.read_line())
    assert first["error"]["data"]["error"] == "invalid_request" and second["id"] == 2
    assert client.server_stats()["subscriptions"] == 0


def test_as_a_notification_it_does_nothing(client):
    client.send('{"jsonrpc":"2.0","method":"events_subscribe"}\n')
    assert client.server_stats()["subscriptions"] == 0


def test_over_http_it_is_refused(daemon):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "events_subscribe"})
    with daemon.client() as client:
        client.send(f"POST / HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
        reply = json.loads(client.read_all().partition(b"\r\n\r\n")[2])
    assert reply["error"]["data"]["error"] == "invalid_request" and "/events" in reply["error"]["data"]["hint"]


def test_several_subscriptions_on_one_connection(client, listener):
    first = listener.events_subscribe(kinds=["added"])["subscription"]
    second = listener.events_subscribe(kinds=["added", "removed"])["subscription"]
    assert first != second
    client.device_create(name="a")
    events = [listener.next(), listener.next()]
    assert {event["subscription"] for event in events} == {first, second}
    assert len({event["seq"] for event in events}) == 1
    assert listener.events_unsubscribe(subscription=first) == {"done": True}
    client.device_remove(name="a")
    assert listener.next()["subscription"] == second
    with pytest.raises(RpcError) as error:
        listener.events_unsubscribe(subscription=first)
    assert error.value.name == "invalid_params" and error.value.data["path"] == "/subscription"
    with pytest.raises(RpcError):
        client.events_unsubscribe(subscription=second)
    listener.events_unsubscribe(subscription=second)
    client.device_create(name="a")
    assert listener.is_silent()
    assert client.server_stats()["subscriptions"] == 0


def test_replies_keep_their_order_and_stay_whole(client, daemon):
    """Large replies, pipelined, while events come as fast as they can."""
    for number in range(200):
        client.device_create(name=f"device-with-a-long-name-{number:03}")
    make(client, "busy")
    with Listener(daemon) as listener:
        listener.events_subscribe(name="busy")
        rounds = 100
        for number in range(rounds):
            listener.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": "list_devices"}) + "\n")
            client.device_suspend(name="busy", flags=["DM_SUSPEND"])
            client.device_resume(name="busy")
        replies = [json.loads(listener.read_reply()) for _ in range(rounds)]
        assert [reply["id"] for reply in replies] == list(range(rounds))
        assert all(len(reply["result"]["devices"]) == 201 for reply in replies)
        events = [listener.next() for _ in range(2 * rounds)]
        assert [event["seq"] for event in events] == list(range(events[0]["seq"], events[0]["seq"] + 2 * rounds))


def test_events_of_its_own_calls(listener):
    listener.events_subscribe()
    listener.device_create(name="mine")
    assert listener.next()["name"] == "mine"


def flood(client, name, count):
    """So many events."""
    for _ in range(count // 2):
        client.device_suspend(name=name, flags=["DM_SUSPEND"])
        client.device_resume(name=name)


@pytest.mark.parametrize("stream", [False, True])
def test_who_does_not_read_loses_events_and_is_told(tmp_path, stream):
    with running(tmp_path, "--event-bytes", 4096, "--stall-seconds", 1) as daemon, daemon.client() as client:
        make(client, "busy")
        idle = client.server_stats()["held_bytes"]
        with contextlib.ExitStack() as stack:
            if stream:
                reader = stack.enter_context(Stream(daemon, "?name=busy"))
                first = reader.next()["seq"]
            else:
                reader = stack.enter_context(Listener(daemon))
                first = reader.events_subscribe()["seq"]
            flood(client, "busy", 1000)
            held = client.server_stats()["held_bytes"]
            assert held - idle < 100_000
            time.sleep(2.5)  # longer than stall_seconds: a slow reader of events is not cut
            flood(client, "busy", 10)
            last = first + 1010
            events = drain(reader.next, last)
            lost = judge(events, first, last)
            assert lost > 0 and [event["kind"] for event in events].count("lost") == 1
            snapshot = next(event for event in events if event["kind"] == "snapshot")
            assert [device["name"] for device in snapshot["devices"]] == ["busy"]
            assert client.server_stats()["events_lost"] == lost
            flood(client, "busy", 2)
            assert [reader.next()["kind"] for _ in range(2)] == ["suspended", "resumed"]
        until(lambda: client.server_stats()["subscriptions"] == 0)
        until(lambda: client.server_stats()["held_bytes"] <= idle + 100)


def test_a_slow_reader_of_replies_is_cut_although_it_has_events(tmp_path):
    with running(tmp_path, "--stall-seconds", 1) as daemon, daemon.client() as client:
        for number in range(300):
            client.device_create(name=f"device-with-quite-a-long-name-{number:04}")
        with Listener(daemon) as reader:
            reader.events_subscribe()
            for _ in range(40):
                reader.send('{"jsonrpc":"2.0","id":1,"method":"list_devices"}\n')
            until(lambda: client.server_stats()["subscriptions"] == 0, 10)


def test_a_loss_while_another_is_told(tmp_path):
    """Reads a little now and then, while events never stop: each loss is told, and in the end nothing is missing."""
    with running(tmp_path, "--event-bytes", 4096) as daemon, daemon.client() as client, Listener(daemon) as reader:
        make(client, "busy")
        first, events = reader.events_subscribe()["seq"], []
        for _ in range(6):
            flood(client, "busy", 600)
            events += [reader.next() for _ in range(100)]
        last = first + 6 * 600
        if events[-1]["seq"] < last:
            events += drain(reader.next, last)
        assert judge(events, first, last) > 0
        assert [event["kind"] for event in events].count("lost") > 1


def test_a_thousand_subscribers(tmp_path):
    with running(tmp_path, "--connections", 1100, "--connections-per-user", 1100) as daemon, daemon.client() as client:
        with contextlib.ExitStack() as stack:
            listeners = [stack.enter_context(Listener(daemon)) for _ in range(1000)]
            for listener in listeners:
                ident = listener.start("events_subscribe")
                assert ident == 1
            for listener in listeners:
                listener.finish(1)
            assert client.server_stats()["subscriptions"] == 1000
            began = time.monotonic()
            client.device_create(name="a")
            for listener in listeners:
                assert listener.next()["name"] == "a"
            print(f"1,000 subscribers heard of it in {time.monotonic() - began:.3f} s")
            assert client.server_stats()["events_sent"] == 1000
        until(lambda: client.server_stats()["subscriptions"] == 0)


def test_a_connection_that_ends_takes_its_subscriptions_with_it(client, daemon):
    idle = client.server_stats()["held_bytes"]
    with Listener(daemon) as leaving:
        for _ in range(5):
            leaving.events_subscribe()
        leaving.start("events_subscribe")
        leaving.drained()
    until(lambda: client.server_stats()["subscriptions"] == 0)
    client.device_create(name="a")
    until(lambda: client.server_stats()["held_bytes"] <= idle + 100)


def test_who_closes_its_sending_side_hears_on(client, listener):
    listener.events_subscribe()
    listener.socket.shutdown(socket.SHUT_WR)
    time.sleep(0.02)
    client.device_create(name="a")
    assert listener.next()["name"] == "a"
    listener.close()
    until(lambda: client.server_stats()["subscriptions"] == 0)


def test_limits(tmp_path):
    with running(tmp_path, "--subscriptions", 2, "--waits", 2) as daemon, daemon.client() as client:
        info = make(client, "a")
        client.events_subscribe()
        client.events_subscribe()
        with pytest.raises(RpcError) as error:
            client.events_subscribe()
        assert error.value.name == "overloaded" and error.value.data["limit"] == 2
        with Stream(daemon) as stream:
            assert stream.status == 503
        for _ in range(2):
            client.start("device_wait", name="a", event_nr=info["event_nr"])
        with pytest.raises(RpcError) as error:
            client.device_wait(name="a", event_nr=info["event_nr"])
        assert error.value.name == "overloaded" and error.value.data["limit"] == 2


def test_the_list_fails(client, listener):
    client.simulate_fault_add(ioctl="DM_LIST_DEVICES", errno=5)
    with pytest.raises(RpcError) as error:
        listener.events_subscribe()
    assert error.value.name == "kernel_error" and error.value.data["ioctl"] == "DM_LIST_DEVICES"
    client.simulate_fault_add(ioctl="DM_DEV_ARM_POLL", errno=5)
    with pytest.raises(RpcError) as error:
        listener.events_subscribe()
    assert error.value.data["ioctl"] == "DM_DEV_ARM_POLL"
    listener.events_subscribe()
    client.simulate_fault_add(ioctl="DM_LIST_DEVICES", errno=5)
    client.device_create(name="a")
    assert listener.next()["name"] == "a"  # a second later


def test_a_snapshot_larger_than_a_reply_may_be(tmp_path):
    with running(tmp_path, "--reply-bytes", 4096) as daemon, daemon.client() as client:
        for number in range(100):
            client.device_create(name=f"device-{number:03}")
        with pytest.raises(RpcError) as error:
            client.events_subscribe()
        assert error.value.name == "reply_too_large"
        assert client.server_stats()["subscriptions"] == 0
        assert client.events_subscribe(name="device-00*")["devices"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_shutdown(tmp_path, signum):
    with dmrpc.Daemon(tmp_path) as daemon, daemon.client() as client, Listener(daemon) as listener, \
            Listener(daemon) as deaf, Stream(daemon) as stream, Stream(daemon, version="1.0") as old:
        make(client, "busy")
        stream.next()
        old.next()
        listener.events_subscribe()
        deaf.events_subscribe()
        flood(client, "busy", 800)
        client.close()
        began = time.monotonic()
        daemon.process.send_signal(signum)
        while listener.socket.recv(65536):
            pass
        listener.close()
        for each in (stream, old):
            while not each.ended:
                each.more()
            each.close()
        assert daemon.process.wait(10) == 0
        assert time.monotonic() - began < 5


# --- server-sent events ---

def test_a_stream(client, daemon):
    make(client, "a", uuid="U-A")
    with Stream(daemon) as stream:
        assert stream.status == 200 and stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-store"
        snapshot = stream.next()
        assert snapshot["kind"] == "snapshot" and snapshot["devices"] == client.list_devices()["devices"]
        client.device_create(name="b")
        event = stream.next()
        assert event["kind"] == "added" and event["seq"] == snapshot["seq"] + 1
        client.device_suspend(name="a", flags=["DM_SUSPEND"])
        client.device_resume(name="a")
        assert [stream.next()["kind"] for _ in range(2)] == ["suspended", "resumed"]


def test_a_snapshot_of_nothing(daemon):
    with Stream(daemon) as stream:
        assert stream.next()["devices"] == []


def test_a_stream_for_http_1_0_lasts_until_the_close(client, daemon):
    with Stream(daemon, version="1.0") as stream:
        assert "transfer-encoding" not in stream.headers
        stream.next()
        client.device_create(name="b")
        assert stream.next()["name"] == "b"


def test_a_stream_with_a_filter(client, daemon, listener):
    with Stream(daemon, "?snapshot=0&kinds=added,renamed&name=v*&uuid=%4C*") as stream:
        until(lambda: client.server_stats()["subscriptions"] == 1)
        listener.events_subscribe()  # its list is the stream's, too
        for name, uuid in (("x", "L1"), ("v1", "M"), ("v2", "L2")):
            client.device_create(name=name, uuid=uuid)
        assert stream.next()["name"] == "v2"


@pytest.mark.parametrize("query", ["?kinds=", "?kinds=added,", "?kinds=lost", "?kinds=added,,removed", "?name=", "?snapshot=2",
                                   "?snapshot", "?x=1", "?name=" + "x" * 256])
def test_a_query_that_does_not_fit(daemon, query):
    with Stream(daemon, query) as stream:
        assert stream.status == 400


def test_head_has_an_end(client, daemon):
    with Stream(daemon, method="HEAD") as stream:
        assert stream.status == 200 and stream.headers["content-type"] == "text/event-stream"
        assert client.server_stats()["subscriptions"] == 0
        assert stream.headers["connection"] == "close" and stream.file.read() == b""


@pytest.mark.parametrize("method, status", [("OPTIONS", 204), ("PUT", 405)])
def test_other_methods(daemon, method, status):
    with Stream(daemon, method=method) as stream:
        assert stream.status == status and stream.headers["allow"] == "GET, HEAD, OPTIONS"


def test_the_table_names_it(daemon):
    with daemon.client() as client:
        client.send("GET / HTTP/1.0\r\n\r\n")
        assert b"GET  /events" in client.read_all()


def test_streams_that_are_left_are_noticed(client, daemon):
    def http():
        return client.server_stats()["connections"][1]["open"]

    make(client, "busy")
    idle = client.server_stats()["held_bytes"]
    for at in ("asleep", "full"):
        streams = [Stream(daemon) for _ in range(20)]
        for stream in streams:
            stream.next()
        assert http() == 20
        if at == "full":
            flood(client, "busy", 800)
        for stream in streams:
            stream.close()
        until(lambda: http() == 0 and client.server_stats()["subscriptions"] == 0)
        until(lambda: client.server_stats()["held_bytes"] <= idle + 100)


def test_a_silent_stream_is_kept_alive(daemon):
    with Stream(daemon) as stream:
        stream.next()
        began = time.monotonic()
        assert stream.block() == ": keep-alive"
        assert 14 < time.monotonic() - began < 17


def test_curl_shows_events_as_they_come(client, daemon):
    command = ["timeout", "20", "curl", "-sN", "--unix-socket", str(daemon.socket), "http://localhost/events"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
        assert curl.stdout.readline().startswith(b"id: ")
        assert curl.stdout.readline() == b"event: snapshot\n"
        assert b'"devices":[]' in curl.stdout.readline() and curl.stdout.readline() == b"\n"
        client.device_create(name="a")
        assert [curl.stdout.readline()[:12] for _ in range(3)][1] == b"event: added"
        curl.terminate()
        curl.wait(5)
    until(lambda: client.server_stats()["subscriptions"] == 0)
