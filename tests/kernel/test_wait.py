# SPDX-License-Identifier: Apache-2.0
"""device_wait: what ends it, what does not, and that no event is lost."""

import contextlib
import pathlib
import re
import time

import dm
import pytest
from calls import Many, fails, line, linear
from dmrpc import RpcError
from tasks import BLOCK, wait_until, write

WAITERS = 200


@pytest.fixture
def waiter(daemon, watch):  # pylint: disable=unused-argument
    """A connection with many calls on their way."""
    with Many(daemon.socket) as connection:
        yield connection


def threads(daemon):
    status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"Threads:\s+(\d+)", status)[1])


def wait_parked(connection):
    """Until the server has read all that was sent: it answers in order but for waits that go on."""
    ident = connection.start("version")
    assert connection.take()[0] == ident


def test_another_number_is_answered_at_once(client, devices):
    info = devices.make([line(0, 8, "zero")])
    result = client.device_wait(name=info["name"], event_nr=info["event_nr"] + 1)
    assert result["info"] == client.device_status(name=info["name"])
    assert result["targets"] == client.table_status(name=info["name"])["targets"] == dm.lines("status", info["device"])


def test_without_an_event_it_times_out(client, devices):
    info = devices.make([line(0, 8, "zero")])
    for timeout in (0, 50):
        fails(lambda limit=timeout: client.device_wait(name=info["name"], event_nr=info["event_nr"], timeout_ms=limit),
              "timed_out")
    dm.assert_same(client.device_status(name=info["name"]))


@pytest.mark.parametrize("ref", ["name", "uuid", "device"])
def test_a_rename_ends_the_wait(client, devices, waiter, ref):
    info = devices.make([line(0, 8, "zero")], uuid="KT-waited")
    ident = waiter.start("device_wait", **{ref: info[ref]}, event_nr=info["event_nr"])
    wait_parked(waiter)
    client.device_rename(name=info["name"], new_name="kt-other")
    answered, result = waiter.take()
    assert answered == ident
    assert result["info"]["name"] == "kt-other" and result["info"]["event_nr"] == info["event_nr"] + 1
    dm.assert_same(result["info"])


def test_a_rename_by_another_program_ends_the_wait(devices, waiter):
    info = devices.make([line(0, 8, "zero")])
    waiter.start("device_wait", device=info["device"], event_nr=info["event_nr"])
    wait_parked(waiter)
    dm.dmsetup("rename", info["name"], "kt-by-dmsetup")
    assert waiter.take()[1]["info"]["name"] == "kt-by-dmsetup"


def test_a_pool_that_crosses_its_low_water_mark_ends_the_wait(client, pool, waiter):
    info = client.device_status(name=pool.info["name"])
    waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"])
    wait_parked(waiter)
    # The kernel looks before it takes a block: the first that finds `low_water` left tells.
    for block in range(pool.blocks() - pool.low_water + 1):
        write(pool.thin["path"], block * pool.blocks_of_4k, bytes(BLOCK))
    _, result = waiter.take()
    assert result["info"]["event_nr"] != info["event_nr"]
    used, total = map(int, result["targets"][0]["params"].split()[2].split("/"))
    assert total - used <= pool.low_water
    assert int(dm.field(info["device"], "events")) == result["info"]["event_nr"]


def test_a_snapshot_that_overflows_ends_the_wait(client, devices, disk, waiter):
    origin, cow = disk(), disk(64)
    base = devices.make([linear(origin, 1024)])
    client.table_load(name=base["name"], targets=[line(0, 1024, "snapshot-origin", origin.number)])
    client.device_resume(name=base["name"])
    snapshot = devices.make([line(0, 1024, "snapshot", f"{origin.number} {cow.number} P 8")])
    waiter.start("device_wait", name=snapshot["name"], event_nr=snapshot["event_nr"])
    wait_parked(waiter)
    for block in range(32):
        write(base["path"], block, bytes([1]) * BLOCK)
    _, result = waiter.take()
    assert result["info"]["event_nr"] == snapshot["event_nr"] + 1
    assert result["targets"] == [line(0, 1024, "snapshot", "Invalid")] == dm.lines("status", snapshot["device"])


def test_removing_the_device_ends_the_wait(client, devices, waiter):
    info = devices.make([line(0, 8, "zero")])
    waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"])
    waiter.start("device_wait", device=info["device"], event_nr=info["event_nr"], timeout_ms=60000)
    wait_parked(waiter)
    client.device_remove(name=info["name"])
    for failure in waiter.take_all().values():
        assert isinstance(failure, RpcError) and failure.name == "device_not_found"


def test_a_device_without_a_table_can_be_removed_while_it_is_waited_for(client, devices, waiter):
    # The kernel's own wait would hold such a remover for good.
    info = devices.create()
    waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"])
    wait_parked(waiter)
    client.device_remove(name=info["name"])
    _, failure = waiter.take()
    assert failure.name == "device_not_found"


def test_a_swap_a_suspend_and_events_of_others_do_not_end_the_wait(client, devices, waiter):
    info, other = devices.make([line(0, 8, "zero")]), devices.make([line(0, 8, "zero")])
    ident = waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"])
    wait_parked(waiter)
    client.table_load(name=info["name"], targets=[line(0, 16, "zero")])
    client.device_resume(name=info["name"])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    client.device_resume(name=info["name"])
    client.device_rename(name=other["name"], new_name="kt-another")
    # The other's event has been seen and handled by the time that this one answers.
    client.device_wait(name="kt-another", event_nr=other["event_nr"])
    assert client.device_status(name=info["name"])["event_nr"] == info["event_nr"]
    assert not waiter.has_reply()
    client.device_rename(name=info["name"], new_name="kt-at-last")
    answered, result = waiter.take()
    assert answered == ident and result["info"]["name"] == "kt-at-last"


def test_hundreds_of_waits_on_one_connection_all_end_with_one_event(client, devices, waiter):
    info = devices.make([line(0, 8, "zero")])
    idents = {waiter.start("device_wait", device=info["device"], event_nr=info["event_nr"]) for _ in range(WAITERS)}
    wait_parked(waiter)
    client.device_rename(name=info["name"], new_name="kt-all-at-once")
    replies = waiter.take_all()
    assert set(replies) == idents
    assert {result["info"]["event_nr"] for result in replies.values()} == {info["event_nr"] + 1}


def test_ten_thousand_waits_cost_no_thread_and_one_list_for_each_event(daemon, client, devices, trace):
    quiet, loud = (devices.make([line(0, 8, "zero")]) for _ in range(2))
    before = threads(daemon)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            connection = stack.enter_context(Many(daemon.socket))
            for _ in range(1000):
                connection.start("device_wait", name=quiet["name"], event_nr=quiet["event_nr"])
            wait_parked(connection)
        assert client.server_stats()["waits"] == 10000
        assert threads(daemon) <= before + 1, "one lists"
        trace.take(dm.LIST_DEVICES)
        name = loud["name"]
        for number in range(5):
            client.device_rename(name=name, new_name=f"kt-loud-{number}")
            name = f"kt-loud-{number}"
            time.sleep(0.5)  # lists are far enough apart
        lists = trace.take(dm.LIST_DEVICES)
        # The kernel raises an event inside of a rename and another one after it: on a slow machine each gets a list.
        assert 5 <= len(lists) <= 10
    wait_until(lambda: client.server_stats()["waits"] == 0, "they go with their connections")


def test_waits_for_many_devices_each_end_with_their_own_event(client, devices, waiter):
    infos = [devices.make([line(0, 8, "zero")]) for _ in range(8)]
    idents = {waiter.start("device_wait", device=info["device"], event_nr=info["event_nr"]): info for info in infos}
    wait_parked(waiter)
    for number, info in enumerate(reversed(infos)):
        client.device_rename(name=info["name"], new_name=f"kt-own-{number}")
        ident, result = waiter.take()
        assert idents[ident] == info and result["info"]["name"] == f"kt-own-{number}"
    assert not waiter.methods


def test_no_event_is_lost_between_two_waits(client, devices, waiter):
    """A follower that goes from number to number arrives at the last one, however fast they come."""
    info, rounds = devices.make([line(0, 8, "zero")]), 60
    reached, last, answered = info["event_nr"], info["event_nr"] + rounds, 0

    def follow():
        nonlocal reached, answered
        _, result = waiter.take()
        assert result["info"]["event_nr"] > reached
        reached, answered = result["info"]["event_nr"], answered + 1
        if reached != last:
            waiter.start("device_wait", device=info["device"], event_nr=reached)

    waiter.start("device_wait", device=info["device"], event_nr=reached)
    name = info["name"]
    for number in range(rounds):
        client.device_rename(name=name, new_name=f"kt-fast-{number}")
        name = f"kt-fast-{number}"
        if waiter.has_reply():
            follow()
    while reached != last:
        follow()
    assert 1 <= answered <= rounds
    assert int(dm.field(info["device"], "events")) == last


class Followers:
    """Waits on several devices by one connection, each from the number that the last one told."""

    def __init__(self, waiter):
        self.waiter, self.reached, self.waits = waiter, {}, {}

    def add(self, info):
        self.reached[info["device"]["minor"]] = info["event_nr"]
        self.wait(info)

    def wait(self, info):
        minor = info["device"]["minor"]
        ident = self.waiter.start("device_wait", device=info["device"], event_nr=self.reached[minor])
        self.waits[ident] = info

    def follow(self):
        ident, result = self.waiter.take()
        info = self.waits.pop(ident)
        minor = info["device"]["minor"]
        assert result["info"]["event_nr"] > self.reached[minor]
        self.reached[minor] = result["info"]["event_nr"]
        self.wait(info)

    def catch_up(self):
        """Reads until nothing is missing; a lost event would keep it waiting."""
        last = {info["device"]["minor"]: int(dm.field(info["device"], "events")) for info in self.waits.values()}
        while self.reached != last:
            self.follow()
        assert not self.waiter.has_reply()
        return self.reached


@pytest.fixture
def followers(waiter):
    return Followers(waiter)


def test_no_event_of_any_kind_is_lost_however_late_the_replies_are_read(client, devices, disk, pool, followers):
    origin, cow = disk(), disk(64)
    base = devices.make([line(0, 1024, "snapshot-origin", origin.number)])
    snapshot = devices.make([line(0, 1024, "snapshot", f"{origin.number} {cow.number} P 8")])
    renamed, block = devices.make([line(0, 8, "zero")]), 0
    followed = [client.device_status(name=info["name"]) for info in (pool.info, snapshot, renamed)]
    for info in followed:
        followers.add(info)
    # Below its low-water mark a pool tells again after each swap.
    for _ in range(pool.blocks() - pool.low_water):
        write(pool.thin["path"], block * pool.blocks_of_4k, bytes(BLOCK))
        block += 1
    for number in range(pool.low_water - 1):
        client.table_swap(name=pool.info["name"], targets=[pool.line()])
        write(pool.thin["path"], block * pool.blocks_of_4k, bytes(BLOCK))
        block += 1
        client.device_rename(name=renamed["name"], new_name=f"kt-late-{number}")
        renamed["name"] = f"kt-late-{number}"
    for each in range(32):
        write(base["path"], each, bytes([1]) * BLOCK)
    reached = followers.catch_up()
    grown = [reached[info["device"]["minor"]] - info["event_nr"] for info in followed]
    assert grown == [pool.low_water - 1, 1, pool.low_water - 1]


def test_a_swap_by_one_call_and_one_that_is_rolled_back_do_not_end_the_wait(client, devices, disk, waiter):
    drive, small = disk(), disk(64)
    info = devices.make([linear(drive, 64)])
    waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"])
    wait_parked(waiter)
    client.table_swap(name=info["name"], targets=[linear(drive, 128)])
    fails(lambda: client.table_swap(name=info["name"], targets=[line(0, 256, "linear", f"{small.number} 0")]),
          "table_rejected", state="the old table is live and running")
    fails(lambda: client.device_wait(name=info["name"], event_nr=info["event_nr"], timeout_ms=100), "timed_out")
    assert not waiter.has_reply()
    client.device_rename(name=info["name"], new_name="kt-after-swaps")
    _, result = waiter.take()
    assert result["info"]["name"] == "kt-after-swaps" and result["targets"] == [line(0, 128, "linear")]


def test_a_wait_on_a_suspended_device_ends_with_its_event_and_not_with_the_resume(client, devices, waiter):
    info = devices.make([line(0, 8, "zero")])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"])
    wait_parked(waiter)
    client.device_rename(name=info["name"], new_name="kt-asleep")
    _, result = waiter.take()
    assert "DM_SUSPEND" in result["info"]["flags"] and result["targets"] == [line(0, 8, "zero")]
    dm.assert_same(result["info"])

    waiter.start("device_wait", name="kt-asleep", event_nr=result["info"]["event_nr"])
    wait_parked(waiter)
    client.device_resume(name="kt-asleep")
    fails(lambda: client.device_wait(name="kt-asleep", event_nr=result["info"]["event_nr"], timeout_ms=100),
          "timed_out")
    assert not waiter.has_reply()
    client.device_rename(name="kt-asleep", new_name="kt-awake")
    assert waiter.take()[1]["info"]["name"] == "kt-awake"


def test_a_suspended_pool_that_is_waited_for_can_be_resumed(client, pool, waiter):
    info = client.device_suspend(name=pool.info["name"], flags=["DM_SUSPEND"])
    # The status in the answer is asked for without a commit: that one would wait for the resume.
    result = client.device_wait(name=info["name"], event_nr=info["event_nr"] + 1)
    assert result["info"]["flags"] == info["flags"]
    waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"])
    wait_parked(waiter)
    client.device_resume(name=info["name"])
    for block in range(pool.blocks() - pool.low_water + 1):
        write(pool.thin["path"], block * pool.blocks_of_4k, bytes(BLOCK))
    assert waiter.take()[1]["info"]["event_nr"] == info["event_nr"] + 1


def test_waits_of_many_connections_all_end_with_one_event(client, daemon, devices):
    info = devices.make([line(0, 8, "zero")])
    connections = [daemon.client() for _ in range(WAITERS)]
    for connection in connections:
        connection.start("device_wait", device=info["device"], event_nr=info["event_nr"])
    for connection in connections:
        connection.drained()
    assert client.server_stats()["waits"] == WAITERS
    client.device_rename(name=info["name"], new_name="kt-for-all")
    for connection in connections:
        assert connection.finish(1)["info"]["name"] == "kt-for-all"
        connection.close()
    assert client.server_stats()["waits"] == 0


def test_a_wait_with_a_time_ends_with_what_comes_first(client, devices, waiter):
    info = devices.make([line(0, 8, "zero")])
    short = [waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"], timeout_ms=each)
             for each in (1, 50, 100)]
    long = [waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"], timeout_ms=each)
            for each in (60000, 4294967295)]
    ended = dict(waiter.take() for _ in short)
    assert set(ended) == set(short) and {failure.name for failure in ended.values()} == {"timed_out"}
    assert not waiter.has_reply()
    client.device_rename(name=info["name"], new_name="kt-in-time")
    ended = waiter.take_all()
    assert set(ended) == set(long) and {result["info"]["name"] for result in ended.values()} == {"kt-in-time"}


def test_a_device_that_was_made_anew_is_not_the_one_that_was_waited_for(client, devices, waiter):
    info = devices.make([line(0, 8, "zero")])
    waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"], timeout_ms=60000)
    wait_parked(waiter)
    client.device_remove(name=info["name"])
    _, failure = waiter.take()
    assert failure.name == "device_not_found" and failure.data["name"] == info["name"]
    assert devices.make([line(0, 8, "zero")], name=info["name"])["event_nr"] == info["event_nr"]
    fails(lambda: client.device_wait(name=info["name"], event_nr=info["event_nr"], timeout_ms=50), "timed_out")


def test_other_calls_overtake_a_wait_on_its_connection(devices, waiter):
    info = devices.make([line(0, 8, "zero")])
    wait = waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"])
    calls = [waiter.start("device_status", name=info["name"]),
             waiter.start("device_rename", name=info["name"], new_name="kt-overtaken"),
             waiter.start("device_status", name="kt-overtaken")]
    order = [waiter.take()[0] for _ in range(4)]
    assert [ident for ident in order if ident != wait] == calls
    assert wait in order


def test_a_connection_that_ends_takes_its_waits_with_it(client, daemon, devices):
    info = devices.make([line(0, 8, "zero")])
    with Many(daemon.socket) as leaving:
        for _ in range(10):
            leaving.start("device_wait", name=info["name"], event_nr=info["event_nr"])
        wait_parked(leaving)
    client.device_rename(name=info["name"], new_name="kt-still-there")
    assert client.device_wait(name="kt-still-there", event_nr=info["event_nr"])["info"]["name"] == "kt-still-there"
