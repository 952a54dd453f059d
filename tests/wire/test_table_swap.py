# SPDX-License-Identifier: Apache-2.0
"""table_swap: what it makes of a kernel that refuses one step or another, and what it says is left."""

import json
import secrets

import pytest

import dmrpc
from keysearch import find_copies

TABLE = ["DM_STATUS_TABLE"]
EINTR, EIO, ENOMEM, EINVAL = 4, 5, 12, 22
RUNS = "the old table is live and running"


def line(length, kind, params="", start=0):
    return {"start": start, "length": length, "type": kind, "params": params}


NEW = [line(1024, "error"), line(1024, "zero", start=1024)]
TOO_LONG = [line(8192, "linear", "259:0 0")]  # the disk has 4,096 sectors: refused as it is swapped in
SHORT = [line(2048, "thin-pool", "259:1 259:0 128 0")]  # than its metadata say: refused as it starts


@pytest.fixture
def old(client):
    """A device with a live table; returns its lines."""
    client.simulate_disk_add(path="/dev/sim0", sectors=4096, number={"major": 259, "minor": 0})
    client.device_create(name="d", uuid="u")
    client.table_load(name="d", targets=[line(2048, "linear", "/dev/sim0 2048")])
    client.device_resume(name="d")
    return [line(2048, "linear", "259:0 2048")]


@pytest.fixture
def pool(client):
    """The same, of a thin-pool."""
    client.simulate_disk_add(path="/dev/sim0", sectors=4096, number={"major": 259, "minor": 0})
    client.simulate_disk_add(path="/dev/sim1", sectors=4096, number={"major": 259, "minor": 1})
    client.device_create(name="d", uuid="u")
    client.table_load(name="d", targets=[line(4096, "thin-pool", "259:1 259:0 128 0")])
    client.device_resume(name="d")
    return lines(client)


def lines(client, *flags):
    return client.table_status(name="d", flags=TABLE + list(flags), show_keys=True)["targets"]


def flags_of(client):
    return set(client.device_status(name="d")["flags"])


LIVE, SUSPENDED, INACTIVE = {"DM_ACTIVE_PRESENT"}, {"DM_SUSPEND"}, {"DM_INACTIVE_PRESENT"}


def fails(error, call, **data):
    with pytest.raises(dmrpc.RpcError) as caught:
        call()
    assert caught.value.name == error, caught.value
    assert {key: caught.value.data.get(key) for key in data} == data, caught.value
    return caught.value


def swap(client, targets, **params):
    return lambda: client.table_swap(name="d", targets=targets, **params)


def fault(client, ioctl, *errnos):
    """What the next calls of this ioctl meet, one after another; 0: nothing."""
    for errno in errnos:
        client.simulate_fault_add(ioctl=ioctl, name="d", errno=errno, calls=1)


# --- it goes well ---

@pytest.mark.parametrize("ref", ["name", "uuid", "device"])
def test_the_new_table_is_live_and_the_device_runs(client, old, ref):
    assert lines(client) == old
    info = client.device_status(name="d")
    swapped = client.table_swap(**{ref: info[ref]}, targets=NEW)
    assert set(swapped["flags"]) == LIVE | {"DM_UEVENT_GENERATED"} and swapped["target_count"] == 2
    assert {**swapped, "flags": []} == {**client.device_status(name="d"), "flags": []}
    assert lines(client) == NEW and flags_of(client) == LIVE


def test_the_new_table_may_be_read_only_and_the_next_not(client, old):
    assert "DM_READONLY" in client.table_swap(name="d", targets=NEW, flags=["DM_READONLY"])["flags"]
    assert "DM_READONLY" not in client.table_swap(name="d", targets=old)["flags"]


@pytest.mark.usefixtures("old")
def test_a_suspended_device_runs_afterwards(client):
    client.device_suspend(name="d", flags=["DM_SUSPEND"])
    assert "DM_SUSPEND" not in client.table_swap(name="d", targets=NEW)["flags"]
    assert flags_of(client) == LIVE and lines(client) == NEW


def test_old_lines_longer_than_the_largest_reply_are_no_hindrance(tmp_path):
    many = [line(8, "zero", start=8 * number) for number in range(2000)]
    with dmrpc.Daemon(tmp_path, "--reply-bytes", 4096) as daemon, daemon.client() as client:
        client.device_create(name="d")
        client.table_load(name="d", targets=many)
        client.device_resume(name="d")
        fails("reply_too_large", lambda: lines(client))
        fault(client, "DM_DEV_SUSPEND", EIO)
        fails("kernel_error", swap(client, NEW), state=RUNS)
        assert client.device_status(name="d")["target_count"] == 2000
        assert client.table_swap(name="d", targets=NEW)["target_count"] == 2


def test_other_changes_of_the_device_wait_until_it_is_over(daemon, client, old):
    with daemon.client() as other, daemon.client() as third:
        held = third.simulate_fault_add(ioctl="DM_DEV_SUSPEND", name="d", held=True, calls=1)["fault"]
        swapping = client.start("table_swap", name="d", targets=NEW)
        client.drained()
        while not third.device_status(name="d")["flags"] == ["DM_ACTIVE_PRESENT", "DM_INACTIVE_PRESENT"]:
            pass
        loading = other.start("table_load", name="d", targets=old)
        other.drained()
        third.simulate_fault_remove(fault=held)
        assert client.finish(swapping)["target_count"] == 2
        assert set(other.finish(loading)["flags"]) == LIVE | INACTIVE
        assert lines(third) == NEW and lines(third, "DM_QUERY_INACTIVE_TABLE") == old


# --- refused before anything is done ---

def test_without_a_live_table_there_is_nothing_to_swap(client):
    client.device_create(name="d")
    error = fails("no_table", swap(client, NEW), errno=None)
    assert "table_load" in error.data["hint"] and flags_of(client) == set()
    client.table_load(name="d", targets=NEW)
    error = fails("no_table", swap(client, [line(8, "zero")]))
    assert "device_resume" in error.data["hint"]
    assert flags_of(client) == INACTIVE and lines(client, "DM_QUERY_INACTIVE_TABLE") == NEW


def test_an_inactive_table_is_somebodys_and_stays(client, old):
    other = [line(8, "zero")]
    client.table_load(name="d", targets=other)
    error = fails("device_busy", swap(client, NEW), errno=None)
    assert "table_clear" in error.data["hint"]
    assert flags_of(client) == LIVE | INACTIVE
    assert lines(client) == old and lines(client, "DM_QUERY_INACTIVE_TABLE") == other


def test_a_device_that_is_not_there(client):
    fails("device_not_found", swap(client, NEW), ioctl="DM_TABLE_STATUS", name="d")


@pytest.mark.usefixtures("old")
def test_params_are_checked(client):
    fails("invalid_params", swap(client, []), path="/targets")
    fails("invalid_params", swap(client, NEW, flags=["DM_NOFLUSH"]), path="/flags/0")
    fails("invalid_params", lambda: client.table_swap(targets=NEW))


# --- the load is refused ---

@pytest.mark.parametrize("bad", [[line(8, "no-such")], [line(8, "linear", "259:0")], [line(8, "zero", start=8)]])
def test_a_refused_load_changes_nothing(client, old, bad):
    fails("table_rejected", swap(client, bad), ioctl="DM_TABLE_LOAD", errno_name="EINVAL",
          state=f"{RUNS}; nothing has changed")
    assert flags_of(client) == LIVE and lines(client) == old


def test_a_refused_load_leaves_a_suspended_device_suspended(client, old):
    client.device_suspend(name="d", flags=["DM_SUSPEND"])
    fault(client, "DM_TABLE_LOAD", ENOMEM)
    fails("kernel_error", swap(client, NEW), ioctl="DM_TABLE_LOAD", errno_name="ENOMEM",
          state="the old table is live and the device SUSPENDED: I/O to it waits, as before the call; "
                "nothing has changed")
    assert flags_of(client) == LIVE | SUSPENDED and lines(client) == old


def test_nothing_has_changed_even_if_nothing_can_be_seen(client, old):
    fault(client, "DM_TABLE_STATUS", 0, EIO)
    fails("table_rejected", swap(client, [line(8, "no-such")]),
          state="unknown: the device's table cannot be read any more; nothing has changed")
    assert flags_of(client) == LIVE and lines(client) == old


# --- the swap is refused, and rolled back ---

def assert_back(client, old, error):
    assert error.data["state"] == RUNS, error
    assert error.message.endswith(" The old table was put back.")
    assert "kernel log" in error.data["hint"] or "too small for target" in error.data["kernel_log"][0]
    assert flags_of(client) == LIVE and lines(client) == old


def test_after_a_refused_swap_the_old_table_runs(client, old):
    error = fails("table_rejected", swap(client, TOO_LONG), ioctl="DM_DEV_SUSPEND", errno_name="EINVAL")
    assert_back(client, old, error)


def test_after_a_target_that_refused_to_start_the_old_table_runs(client, pool):
    error = fails("table_rejected", swap(client, SHORT), ioctl="DM_DEV_SUSPEND", errno_name="EINVAL")
    assert_back(client, pool, error)


def test_after_a_suspend_that_failed_the_inactive_slot_is_empty(client, old):
    fault(client, "DM_DEV_SUSPEND", EIO)
    error = fails("kernel_error", swap(client, NEW), ioctl="DM_DEV_SUSPEND", errno_name="EIO")
    assert_back(client, old, error)


def test_what_was_suspended_is_told(client, pool):
    client.device_suspend(name="d", flags=["DM_SUSPEND"])
    fails("table_rejected", swap(client, SHORT), state=f"{RUNS}; before the call it was suspended")
    assert flags_of(client) == LIVE and lines(client) == pool


def test_a_read_only_table_comes_back_read_only(client, old):
    client.table_swap(name="d", targets=old, flags=["DM_READONLY"])
    for looks in ([], [0, EIO]):  # by a resume, and by its lines
        fault(client, "DM_TABLE_STATUS", *looks)
        fails("table_rejected", swap(client, TOO_LONG), state=RUNS)
        assert flags_of(client) == LIVE | {"DM_READONLY"} and lines(client) == old


def test_where_it_cannot_be_seen_what_is_live_the_old_lines_help(client, pool):
    fault(client, "DM_TABLE_STATUS", 0, EIO)
    error = fails("table_rejected", swap(client, SHORT), errno_name="EINVAL")
    assert_back(client, pool, error)


@pytest.mark.parametrize("looks", [[], [0, EIO]])
def test_signals_do_not_end_the_way_back(client, old, looks):
    """A call whose time is over gets one every 10 ms, and they are for the swap."""
    fault(client, "DM_TABLE_STATUS", *looks)
    fault(client, "DM_DEV_SUSPEND", 0, EINTR, EINTR, EINTR)
    assert_back(client, old, fails("table_rejected", swap(client, TOO_LONG), errno_name="EINVAL"))


# --- the roll-back fails too ---

NEW_SUSPENDED = "the new table is live and the device SUSPENDED: I/O to it waits"
OLD_SUSPENDED = "the old table is live and the device SUSPENDED: I/O to it waits"


def assert_lost(error, second):
    assert f" To put the old table back failed as well: {second}" in error.message, error
    assert "resume it" in error.data["hint"]


def test_if_the_old_lines_are_refused_too_the_new_table_stays_suspended(client, pool):
    fault(client, "DM_TABLE_LOAD", 0, ENOMEM)
    error = fails("table_rejected", swap(client, SHORT), errno_name="EINVAL", ioctl="DM_DEV_SUSPEND",
                  state=NEW_SUSPENDED)
    assert_lost(error, "DM_TABLE_LOAD on device 'd' failed: the kernel had no memory for the table (ENOMEM")
    assert flags_of(client) == LIVE | SUSPENDED and lines(client)[0]["length"] == 2048
    # What the hint says helps.
    fails("table_rejected", lambda: client.device_resume(name="d"))
    client.table_load(name="d", targets=pool)
    client.device_resume(name="d")
    assert flags_of(client) == LIVE and lines(client) == pool


def test_if_the_old_table_is_not_activated_it_is_in_the_inactive_slot(client, pool):
    fault(client, "DM_DEV_SUSPEND", 0, EIO)
    error = fails("table_rejected", swap(client, SHORT), errno_name="EINVAL",
                  state=f"{NEW_SUSPENDED}; an inactive table is there")
    assert_lost(error, "DM_DEV_SUSPEND on device 'd' failed: the suspend or resume failed (EIO")
    assert flags_of(client) == LIVE | SUSPENDED | INACTIVE
    client.device_resume(name="d")
    assert flags_of(client) == LIVE and lines(client) == pool


def test_if_no_resume_works_the_old_table_stays_suspended(client, old):
    fault(client, "DM_DEV_SUSPEND", 0, EIO)
    error = fails("table_rejected", swap(client, TOO_LONG), errno_name="EINVAL", state=OLD_SUSPENDED)
    assert_lost(error, "DM_DEV_SUSPEND on device 'd' failed: the suspend or resume failed (EIO")
    assert flags_of(client) == LIVE | SUSPENDED and lines(client) == old
    client.device_resume(name="d")
    assert flags_of(client) == LIVE


def test_a_suspended_device_whose_slot_cannot_be_cleared_is_not_resumed(client, old):
    """That would make the refused table live."""
    client.device_suspend(name="d", flags=["DM_SUSPEND"])
    fault(client, "DM_DEV_SUSPEND", EIO)
    fault(client, "DM_TABLE_CLEAR", ENOMEM)
    fails("kernel_error", swap(client, NEW), errno_name="EIO",
          state=f"{OLD_SUSPENDED}, as before the call; an inactive table is there")
    assert flags_of(client) == LIVE | SUSPENDED | INACTIVE and lines(client) == old


def test_if_the_inactive_table_cannot_be_cleared_it_is_told(client, old):
    fault(client, "DM_DEV_SUSPEND", EIO)
    fault(client, "DM_TABLE_CLEAR", ENOMEM)
    error = fails("kernel_error", swap(client, NEW), errno_name="EIO", state=f"{RUNS}; an inactive table is there")
    assert " To put the old table back failed as well: DM_TABLE_CLEAR on device 'd'" in error.message
    assert "table_clear" in error.data["hint"]
    assert flags_of(client) == LIVE | INACTIVE and lines(client) == old


def test_if_nothing_can_be_seen_the_state_is_unknown(client, pool):
    fault(client, "DM_TABLE_STATUS", 0, EIO, EIO)
    error = fails("table_rejected", swap(client, SHORT), errno_name="EINVAL",
                  state="unknown: the device's table cannot be read any more")
    assert "resume" in error.data["hint"]
    assert flags_of(client) == LIVE and lines(client) == pool


@pytest.mark.usefixtures("old")
def test_a_swap_that_cannot_be_looked_at_afterwards_was_made(client):
    # The first look is the one that finds the device's turn.
    fault(client, "DM_DEV_STATUS", 0, EIO)
    fails("kernel_error", swap(client, NEW), ioctl="DM_DEV_STATUS", errno_name="EIO",
          state="the table was swapped; only the look at it afterwards failed")
    assert flags_of(client) == LIVE and lines(client) == NEW


# --- keys ---

@pytest.mark.parametrize("looks", [[], [0, EIO]])
def test_a_wiped_key_is_not_made_one_of_zeros(client, looks):
    """A suspended crypt target without a key shows zeros, and with those it would run and damage the data."""
    key = secrets.token_hex(32)
    client.simulate_disk_add(path="/dev/sim0", sectors=4096, number={"major": 259, "minor": 0})
    client.device_create(name="d")
    client.table_load(name="d", targets=[line(2048, "crypt", f"aes-xts-plain64 {key} 0 259:0 0")])
    client.device_resume(name="d")
    client.device_suspend(name="d", flags=["DM_SUSPEND"])
    client.target_msg(name="d", message="key wipe")
    wiped = lines(client)
    assert "0" * 64 in wiped[0]["params"]
    fault(client, "DM_TABLE_STATUS", *looks)
    error = fails("table_rejected", swap(client, TOO_LONG), errno_name="EINVAL",
                  state=f"{OLD_SUSPENDED}, as before the call")
    assert_lost(error, "Its key was wiped" if looks else "DM_DEV_SUSPEND on device 'd' failed")
    assert flags_of(client) == LIVE | SUSPENDED and lines(client) == wiped
    client.target_msg(name="d", message=f"key set {key}")
    client.device_resume(name="d")
    assert key in lines(client)[0]["params"]


def test_another_key_that_begins_with_zeros_comes_back(client):
    client.simulate_disk_add(path="/dev/sim0", sectors=4096, number={"major": 259, "minor": 0})
    client.device_create(name="d")
    old = [line(2048, "crypt", f"aes-xts-plain64 {'0' * 63}1 0 259:0 0")]
    client.table_load(name="d", targets=old)
    client.device_resume(name="d")
    client.device_suspend(name="d", flags=["DM_SUSPEND"])
    fault(client, "DM_TABLE_STATUS", 0, EIO)
    fails("table_rejected", swap(client, TOO_LONG), state=f"{RUNS}; before the call it was suspended")
    assert flags_of(client) == LIVE and lines(client) == old


@pytest.mark.parametrize("bad", [None, *TOO_LONG, line(8, "no-such")])
def test_no_copy_of_an_old_or_a_new_key_is_left(daemon, client, bad):
    old_key, new_key = secrets.token_hex(32), secrets.token_hex(32)
    client.simulate_disk_add(path="/dev/sim0", sectors=4096, number={"major": 259, "minor": 0})
    client.device_create(name="d")
    client.table_load(name="d", targets=[line(2048, "crypt", f"aes-xts-plain64 {old_key} 0 259:0 0")])
    client.device_resume(name="d")
    targets = [line(2048, "crypt", f"aes-xts-plain64 {new_key} 0 259:0 2048")]
    targets += [{**bad, "start": 2048}] if bad else []
    if bad in TOO_LONG:
        fault(client, "DM_TABLE_STATUS", 0, EIO)  # the way back is by the old lines
    client.send(json.dumps(client.request("table_swap", {"name": "d", "targets": targets})))
    reply = client.read_line()
    if bad:
        assert json.loads(reply)["error"]["data"]["state"].startswith(RUNS)
    else:
        assert json.loads(reply)["result"]["target_count"] == 1
    assert old_key.encode() not in reply and new_key.encode() not in reply
    client.device_remove(name="d")
    client.version()
    assert find_copies(daemon.process.pid, old_key) == [] and find_copies(daemon.process.pid, new_key) == []
    assert old_key not in daemon.log() and new_key not in daemon.log()


# --- time, leases and events ---

@pytest.mark.usefixtures("old")
def test_a_swap_that_drains_for_too_long_is_undone(daemon, client):
    client.simulate_stall(name="d", drain=True)
    error = fails("timed_out", swap(client, NEW, timeout_ms=dmrpc.BUSY_MS), state=RUNS)
    assert error.data["errno_name"] == "EINTR"
    client.simulate_stall(name="d")
    assert flags_of(client) == LIVE and client.device_status(name="d")["target_count"] == 1
    assert client.table_swap(name="d", targets=NEW, timeout_ms=20000)["target_count"] == 2


def test_a_swap_whose_time_runs_out_while_it_loads_is_not_begun(daemon, client, old):
    with daemon.client() as other:
        held = other.simulate_fault_add(ioctl="DM_TABLE_LOAD", name="d", held=True, calls=1)["fault"]
        fails("timed_out", swap(client, NEW, timeout_ms=dmrpc.BUSY_MS), state="still running")
        assert [call["method"] for call in other.calls_list()["calls"]] == ["table_swap"]
        other.simulate_fault_remove(fault=held)
        assert client.table_clear(name="d")["flags"] == ["DM_ACTIVE_PRESENT"]  # after it
        assert lines(client) == old


@pytest.mark.usefixtures("old")
def test_a_swap_ends_the_lease_of_a_suspend(daemon, client):
    with daemon.client() as other:
        other.device_suspend(name="d", flags=["DM_SUSPEND"], resume_after_ms=60000)
        assert len(client.lease_list()["leases"]) == 1
        client.table_swap(name="d", targets=NEW)
        assert client.lease_list()["leases"] == []


@pytest.mark.usefixtures("old")
def test_subscribers_hear_that_a_swap_resumed_the_device(daemon, client):
    client.device_suspend(name="d", flags=["DM_SUSPEND"])
    with daemon.client() as other:
        other.events_subscribe(kinds=["suspended", "resumed"])
        for targets in NEW, [line(2048, "zero")]:  # the second time it runs already: it is resumed with another table
            client.table_swap(name="d", targets=targets)
            event = json.loads(other.read_line())
            assert event["method"] == "event" and event["params"]["kind"] == "resumed", event
        # One that leaves the device suspended is told, too.
        fault(client, "DM_DEV_SUSPEND", 0, EIO)
        fails("table_rejected", swap(client, TOO_LONG))
        event = json.loads(other.read_line())
        assert event["params"]["kind"] == "suspended", event
