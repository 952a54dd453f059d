# SPDX-License-Identifier: Apache-2.0
"""Calls that take too long: limits of time, cancellation, what a resume does to a suspend, what is told and left."""

import time

import pytest

import dmrpc
from dmrpc import BUSY_MS

TABLE = [{"start": 0, "length": 8, "type": "zero", "params": ""}]


@pytest.fixture
def other(daemon):
    with daemon.client() as client:
        yield client


def make(client, name="a"):
    client.device_create(name=name)
    client.table_load(name=name, targets=TABLE)
    client.device_resume(name=name)


def suspended(client, name="a"):
    return "DM_SUSPEND" in client.device_status(name=name)["flags"]


def running(client, method):
    """Those of a method that calls_list shows."""
    return [each for each in client.calls_list()["calls"] if each["method"] == method]


def wait_until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true within 10 s")


def wait_running(client, method, count=1):
    wait_until(lambda: len(running(client, method)) == count)
    return running(client, method)


# --- limits of time ---------------------------------------------------------------------------------------------------

def test_a_suspend_that_drains_is_undone(client):
    make(client)
    client.simulate_stall(name="a", drain=True)
    began = time.monotonic()
    with pytest.raises(dmrpc.RpcError) as caught:
        client.device_suspend(name="a", flags=["DM_SUSPEND"], timeout_ms=BUSY_MS)
    assert BUSY_MS / 1000 - 0.05 < time.monotonic() - began < 5
    assert caught.value.name == "timed_out"
    assert caught.value.data["errno_name"] == "EINTR" and caught.value.data["ioctl"] == "DM_DEV_SUSPEND"
    assert caught.value.data["state"] == "running; a live table, no inactive one"
    assert f"{BUSY_MS} ms" in caught.value.message
    assert not suspended(client)
    client.simulate_stall(name="a")
    client.device_suspend(name="a", flags=["DM_SUSPEND"], timeout_ms=10000)
    assert suspended(client)
    client.device_resume(name="a")


def test_a_freeze_is_given_up_and_undone_at_its_end(client, other, daemon):
    """No signal ends it: the caller is told so, and the suspend that comes about later is not left behind."""
    make(client)
    make(client, "b")
    client.simulate_stall(name="a", freeze=True)
    with pytest.raises(dmrpc.RpcError) as caught:
        client.device_suspend(name="a", flags=["DM_SUSPEND"], timeout_ms=BUSY_MS)
    assert caught.value.name == "timed_out" and caught.value.data["state"] == "still running"
    (call,) = running(client, "device_suspend")
    assert call["call"] == caught.value.data["call"]
    assert call["given_up"] and call["name"] == "a" and call["stage"] == "worker" and call["timeout_ms"] == BUSY_MS
    # The connection goes on, other devices do, and this one's next change waits.
    assert client.device_suspend(name="b", flags=["DM_SUSPEND"], timeout_ms=5000)
    client.device_resume(name="b")
    with pytest.raises(dmrpc.RpcError) as caught:
        client.table_clear(name="a", timeout_ms=100)
    assert caught.value.name == "timed_out" and "not begun" in caught.value.data["state"]
    other.simulate_stall(name="a")
    wait_until(lambda: not running(client, "device_suspend"))
    assert not suspended(client)
    assert daemon.said(f"Call {call['call']}, device_suspend of device 'a', which had been given up, has ended")
    assert client.table_clear(name="a", timeout_ms=5000)


def test_what_is_undone_makes_no_table_live(client, other, daemon):
    make(client)
    client.table_load(name="a", targets=[TABLE[0] | {"length": 16}])
    client.simulate_stall(name="a", freeze=True)
    with pytest.raises(dmrpc.RpcError) as caught:
        client.device_suspend(name="a", flags=["DM_SUSPEND"], timeout_ms=BUSY_MS)
    assert caught.value.name == "timed_out" and caught.value.data["state"] == "still running"
    # Nor has a signal any say in it, which comes again and again: it is meant for the suspend.
    other.simulate_fault_add(ioctl="DM_DEV_SUSPEND", name="a", errno=4, calls=3)
    other.simulate_stall(name="a")
    wait_until(lambda: not running(client, "device_suspend"))
    assert client.device_status(name="a")["flags"] == ["DM_ACTIVE_PRESENT"]
    assert client.table_status(name="a", flags=["DM_STATUS_TABLE"])["targets"] == TABLE
    assert daemon.said("has ended: it was undone, the device runs; its inactive table")


def test_what_cannot_be_interrupted_is_carried_out(client, other, daemon):
    client.simulate_fault_add(ioctl="DM_DEV_CREATE", held=True)
    with pytest.raises(dmrpc.RpcError) as caught:
        client.device_create(name="a", timeout_ms=BUSY_MS)
    assert caught.value.name == "timed_out" and caught.value.data["state"] == "still running"
    assert other.list_devices()["devices"] == []
    other.simulate_fault_remove(fault=1)
    wait_until(lambda: [each["name"] for each in other.list_devices()["devices"]] == ["a"])
    assert daemon.said("has ended: it was carried out.")


def test_a_call_that_waits_for_its_turn(client, other, daemon):
    make(client)
    client.simulate_stall(name="a", drain=True)
    client.start("device_suspend", name="a", flags=["DM_SUSPEND"])
    wait_running(other, "device_suspend")
    began = time.monotonic()
    with pytest.raises(dmrpc.RpcError) as caught:
        other.table_load(name="a", targets=TABLE, timeout_ms=100)
    assert time.monotonic() - began < 5
    assert caught.value.name == "timed_out" and "not begun" in caught.value.message
    assert other.device_status(name="a")["flags"] == ["DM_ACTIVE_PRESENT"]
    other.simulate_stall(name="a")
    client.read_line()
    assert suspended(other)
    other.device_resume(name="a")


def test_in_time(client):
    make(client)
    for timeout in (1000, 4294967295):
        assert client.table_status(name="a", timeout_ms=timeout)["targets"]
    with pytest.raises(dmrpc.RpcError) as caught:
        client.table_status(name="a", timeout_ms=0)
    assert caught.value.name == "invalid_params"


def test_in_a_batch_the_others_go_on(client):
    make(client)
    client.simulate_fault_add(ioctl="DM_TABLE_CLEAR", held=True)
    clear = client.request("table_clear", {"name": "a", "timeout_ms": BUSY_MS}, 1)
    batch = [clear, client.request("version", None, 2)]
    client.send(dmrpc.json.dumps(batch))
    first, second = dmrpc.json.loads(client.read_line())
    assert first["id"] == 1 and first["error"]["data"]["error"] == "timed_out"
    assert second["id"] == 2 and second["result"]
    client.simulate_fault_remove(fault=1)
    wait_until(lambda: not running(client, "table_clear"))


def test_a_notification_that_takes_too_long(client):
    client.simulate_fault_add(ioctl="DM_DEV_CREATE", held=True)
    client.send('{"jsonrpc":"2.0","method":"device_create","params":{"name":"a","timeout_ms":%d}}' % BUSY_MS)
    assert client.version()
    assert running(client, "device_create")[0]["given_up"]
    client.simulate_fault_remove(fault=1)
    wait_until(lambda: not running(client, "device_create"))


def test_the_client_leaves_before_the_end(client, daemon):
    client.simulate_fault_add(ioctl="DM_DEV_CREATE", held=True)
    with daemon.client() as gone:
        gone.start("device_create", name="a", timeout_ms=BUSY_MS)
        wait_running(client, "device_create")
    wait_until(lambda: running(client, "device_create")[0]["given_up"])
    client.simulate_fault_remove(fault=1)
    wait_until(lambda: not running(client, "device_create"))
    assert len(client.list_devices()["devices"]) == 1


def test_many_stuck_suspends_leave_the_rest_alone(daemon, client):
    count = 50
    clients = [daemon.client() for _ in range(count)]
    try:
        for index in range(count):
            make(client, f"d{index}")
            client.simulate_stall(name=f"d{index}", freeze=index % 2 == 0, drain=index % 2 == 1)
        for index, each in enumerate(clients):
            each.start("device_suspend", name=f"d{index}", flags=["DM_SUSPEND"], timeout_ms=2000)
        wait_running(client, "device_suspend", count)
        make(client, "other")
        client.device_suspend(name="other", flags=["DM_SUSPEND"], timeout_ms=5000)
        client.device_resume(name="other", timeout_ms=5000)
        assert len(client.list_devices()["devices"]) == count + 1
        states = [dmrpc.json.loads(each.read_line())["error"]["data"]["state"] for each in clients]
        assert states.count("still running") == count / 2
        for index in range(count):
            client.simulate_stall(name=f"d{index}")
        wait_until(lambda: not running(client, "device_suspend"))
        assert not any(suspended(client, f"d{index}") for index in range(count))
    finally:
        for each in clients:
            each.close()


# --- cancellation -----------------------------------------------------------------------------------------------------

def test_cancel_what_runs(client, other):
    make(client)
    client.simulate_stall(name="a", drain=True)
    client.start("device_suspend", name="a", flags=["DM_SUSPEND"])
    (call,) = wait_running(other, "device_suspend")
    time.sleep(0.5)  # it is with a worker; whether that has begun cannot be asked
    assert other.call_cancel(call=call["call"])["outcome"] == "interrupted"
    reply = dmrpc.json.loads(client.read_line())
    assert reply["error"]["data"]["error"] == "cancelled"
    assert reply["error"]["data"]["state"].startswith("running")
    assert not suspended(other)
    with pytest.raises(dmrpc.RpcError) as caught:
        other.call_cancel(call=call["call"])
    assert caught.value.name == "invalid_params"


def test_cancel_what_waits(client, other, daemon):
    make(client)
    client.simulate_stall(name="a", drain=True)
    client.start("device_suspend", name="a", flags=["DM_SUSPEND"])
    wait_running(other, "device_suspend")
    with daemon.client() as third:
        third.start("table_clear", name="a")
        (call,) = wait_running(other, "table_clear")
        assert call["stage"] == "turn"
        assert other.call_cancel(call=call["call"]) == {"call": call["call"], "outcome": "ended"}
        assert dmrpc.json.loads(third.read_line())["error"]["data"]["error"] == "cancelled"
    other.simulate_stall(name="a")
    client.read_line()
    other.device_resume(name="a")


def test_cancel_a_wait(client, other):
    make(client)
    client.start("device_wait", name="a", event_nr=0)
    (call,) = wait_running(other, "device_wait")
    assert call["stage"] == "parked"
    assert other.call_cancel(call=call["call"])["outcome"] == "ended"
    assert dmrpc.json.loads(client.read_line())["error"]["data"]["error"] == "cancelled"
    assert other.calls_list()["calls"] == []


@pytest.mark.parametrize("method", ["device_resume", "device_suspend"])
def test_a_resume_ends_a_suspend_that_drains(client, other, method):
    """Else the kernel would let the resume do nothing, and the suspend would succeed after it."""
    make(client)
    client.simulate_stall(name="a", drain=True)
    ident = client.start("device_suspend", name="a", flags=["DM_SUSPEND"])
    wait_running(other, "device_suspend")
    assert "DM_SUSPEND" not in getattr(other, method)(name="a", timeout_ms=5000)["flags"]
    with pytest.raises(dmrpc.RpcError) as caught:
        client.finish(ident)
    assert caught.value.name == "cancelled" and "ended it" in caught.value.message
    other.simulate_stall(name="a")
    assert not suspended(other)


def test_a_resume_that_waits_ends_a_suspend_that_begins_to_drain(client, other, daemon):
    """Both stood in line; when the suspend's turn comes, the resume waits for it already."""
    make(client)
    client.simulate_stall(name="a", freeze=True)
    with daemon.client() as first, daemon.client() as second, daemon.client() as third:
        first.start("device_suspend", name="a", flags=["DM_SUSPEND"])
        wait_running(other, "device_suspend")
        later = second.start("device_suspend", name="a", flags=["DM_SUSPEND", "DM_SKIP_LOCKFS"])
        wait_running(other, "device_suspend", 2)
        resume = third.start("device_resume", name="a")
        wait_running(other, "device_resume")
        other.simulate_stall(name="a", drain=True)
        first.read_line()
        assert "DM_SUSPEND" not in third.finish(resume)["flags"]
        with pytest.raises(dmrpc.RpcError) as caught:
            second.finish(later)
        assert caught.value.name == "cancelled" and "ended it" in caught.value.message
    other.simulate_stall(name="a")
    assert not suspended(other)


def test_a_lease_that_is_over_ends_its_suspend_that_drains(client, other):
    make(client)
    client.simulate_stall(name="a", drain=True)
    began = time.monotonic()
    with pytest.raises(dmrpc.RpcError) as caught:
        client.device_suspend(name="a", flags=["DM_SUSPEND"], resume_after_ms=BUSY_MS)
    assert BUSY_MS / 1000 - 0.05 < time.monotonic() - began < 5
    assert caught.value.name == "cancelled" and "its lease was over" in caught.value.message
    assert caught.value.data["state"].startswith("running")
    assert not suspended(other)
    assert other.lease_list()["leases"] == []
    client.simulate_stall(name="a")
    client.device_suspend(name="a", flags=["DM_SUSPEND"], resume_after_ms=60000)
    client.device_resume(name="a")


# --- a wait -----------------------------------------------------------------------------------------------------------

def test_a_wait_has_its_time_also_after_its_event(client, other):
    """Then its status is read, which may block."""
    make(client)
    fault = other.simulate_fault_add(ioctl="DM_TABLE_STATUS", held=True)["fault"]
    wait = client.start("device_wait", name="a", event_nr=0, timeout_ms=1000)
    (call,) = wait_running(other, "device_wait")
    assert call["stage"] == "parked" and call["timeout_ms"] == 1000
    other.simulate_event(name="a")
    with pytest.raises(dmrpc.RpcError) as caught:
        client.finish(wait)
    assert caught.value.name == "timed_out" and caught.value.data["state"] == "still running"
    (call,) = wait_running(other, "device_wait")
    assert call["given_up"]
    other.simulate_fault_remove(fault=fault)
    wait_running(other, "device_wait", 0)
    assert client.device_wait(name="a", event_nr=0)["info"]["event_nr"] == 1


def test_an_event_that_came_in_time_is_answered(client, other):
    """However little of the time is left: of 0 ms none is, when the status is read."""
    make(client)
    client.simulate_event(name="a")
    fault = other.simulate_fault_add(ioctl="DM_TABLE_STATUS", held=True)["fault"]
    wait = client.start("device_wait", name="a", event_nr=0, timeout_ms=0)
    wait_running(other, "device_wait")
    time.sleep(0.05)
    other.simulate_fault_remove(fault=fault)
    assert client.finish(wait)["info"]["event_nr"] == 1


# --- trying again -----------------------------------------------------------------------------------------------------

def test_a_remove_is_tried_until_the_device_is_free(client, other):
    make(client)
    client.simulate_hold(name="a")
    ident = client.start("device_remove", name="a", retry=True, timeout_ms=20000)
    wait_until(lambda: [each["stage"] for each in running(other, "device_remove")] == ["paused"])
    time.sleep(0.2)
    other.simulate_release(name="a")
    assert client.finish(ident)["tries"] > 1
    assert client.list_devices()["devices"] == []


def test_a_remove_that_is_tried_in_vain(client):
    make(client)
    client.simulate_hold(name="a")
    began = time.monotonic()
    with pytest.raises(dmrpc.RpcError) as caught:
        client.device_remove(name="a", retry=True, timeout_ms=300)
    assert time.monotonic() - began < 5
    assert caught.value.name == "device_busy" and "tried" in caught.value.data["state"]
    assert client.device_status(name="a")["open_count"] == 1


def test_a_remove_that_is_tried_is_cancelled(client, other):
    make(client)
    client.simulate_hold(name="a")
    ident = client.start("device_remove", name="a", retry=True, timeout_ms=60000)
    wait_until(lambda: [each["stage"] for each in running(other, "device_remove")] == ["paused"])
    (call,) = running(other, "device_remove")
    canceller = other.call_cancel(call=call["call"])
    assert canceller["outcome"] in ("ended", "interrupted")  # if it runs just now
    with pytest.raises(dmrpc.RpcError) as caught:
        client.finish(ident)
    assert caught.value.name == "cancelled"
    assert "while the device was busy" in caught.value.message and "ended it" in caught.value.message
    assert caught.value.data["state"].startswith("as before; tried ")
    other.simulate_release(name="a")
    time.sleep(0.2)
    assert client.device_status(name="a")["open_count"] == 0  # nobody tries any more


def test_a_remove_that_waits_for_a_worker_between_two_tries(tmp_path):
    """It was tried, so it is no call that was not begun."""
    with dmrpc.Daemon(tmp_path, "--workers", 1) as daemon, daemon.client() as client, daemon.client() as other, \
            daemon.client() as third:
        make(client)
        make(client, "stuck")
        client.simulate_hold(name="a")
        client.simulate_stall(name="stuck", drain=True)
        for cancels in (False, True):
            remove = client.start("device_remove", name="a", retry=True, timeout_ms=60000 if cancels else 2000)
            wait_until(lambda: [each["stage"] for each in running(third, "device_remove")] == ["paused"])
            suspend = other.start("device_suspend", name="stuck", flags=["DM_SUSPEND"])
            if cancels:
                wait_until(lambda: [each["stage"] for each in running(third, "device_remove")] == ["worker"])
                (call,) = running(third, "device_remove")
                third.call_cancel(call=call["call"])
            with pytest.raises(dmrpc.RpcError) as caught:
                client.finish(remove)
            assert caught.value.name == ("cancelled" if cancels else "device_busy")
            assert caught.value.data["state"].startswith("as before; tried ")
            third.call_cancel(call=running(third, "device_suspend")[0]["call"])
            with pytest.raises(dmrpc.RpcError):
                other.finish(suspend)


def test_retry_wants_an_end(client):
    make(client)
    with pytest.raises(dmrpc.RpcError) as caught:
        client.device_remove(name="a", retry=True)
    assert caught.value.name == "invalid_params" and caught.value.data["path"] == "/timeout_ms"
    assert client.device_remove(name="a")["tries"] == 1


def test_what_is_tried_again_ends_with_the_server(daemon, client):
    make(client)
    client.simulate_hold(name="a")
    ident = client.start("device_remove", name="a", retry=True, timeout_ms=60000)
    with daemon.client() as other:
        wait_until(lambda: [each["stage"] for each in running(other, "device_remove")] == ["paused"])
    daemon.process.terminate()
    with pytest.raises(dmrpc.RpcError) as caught:
        client.finish(ident)
    assert caught.value.name == "device_busy"
    assert daemon.process.wait(10) == 0


def test_errors_bear_the_number_of_their_call(client):
    numbers = []
    for _ in range(3):
        with pytest.raises(dmrpc.RpcError) as caught:
            client.device_status(name="none")
        numbers.append(caught.value.data["call"])
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
