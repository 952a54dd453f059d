# SPDX-License-Identifier: Apache-2.0
"""device_wait: what ends it, what does not, and that no event is lost."""

import dm
import pytest
from calls import Many, fails, line, linear
from dmrpc import RpcError
from tasks import BLOCK, write

WAITERS = 200


@pytest.fixture
def waiter(daemon, watch):  # pylint: disable=unused-argument
    """A connection with many calls on their way."""
    with Many(daemon.socket) as connection:
        yield connection


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
