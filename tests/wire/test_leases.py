# SPDX-License-Identifier: Apache-2.0
"""Leases: suspended devices that are resumed by themselves, on the simulated kernel.

There is no guardian here: the simulated kernel lives in the daemon. See tests/kernel/test_leases.py for that.
"""

import json
import signal
import socket
import time

import dmrpc
import pytest

ZERO = [{"start": 0, "length": 8, "type": "zero", "params": ""}]
LONGER = [{"start": 0, "length": 16, "type": "zero", "params": ""}]
LONGEST = [{"start": 0, "length": 24, "type": "zero", "params": ""}]
SUSPEND = ["DM_SUSPEND"]


def fails(error, call, /, **params):
    with pytest.raises(dmrpc.RpcError) as info:
        call(**params)
    assert info.value.name == error, info.value
    return info.value


def make(client, name="d", **params):
    info = client.device_create(name=name, **params)
    client.table_load(name=name, targets=ZERO)
    client.device_resume(name=name)
    return info


def is_suspended(client, **device):
    return "DM_SUSPEND" in client.device_status(**(device or {"name": "d"}))["flags"]


def suspend(client, name="d", **terms):
    return client.device_suspend(name=name, flags=SUSPEND, **terms)


def wait_running(client, timeout=5.0, **device):
    deadline = time.monotonic() + timeout
    while is_suspended(client, **device):
        assert time.monotonic() < deadline, "nobody resumed the device"
        time.sleep(0.01)


def wait_no_lease(client, timeout=5.0):
    deadline = time.monotonic() + timeout
    while client.lease_list()["leases"]:
        assert time.monotonic() < deadline, "the lease does not end"
        time.sleep(0.01)


# --- the end by time ---

def test_a_lease_ends_by_time(client, daemon):
    make(client)
    info = suspend(client, resume_after_ms=300)
    assert info["lease"]["resume_on_disconnect"] is False and 200 < info["lease"]["ends_in_ms"] <= 300
    assert "already_suspended" not in info
    (lease,) = client.lease_list()["leases"]
    assert lease["name"] == "d" and lease["device"] == info["device"] and lease["ending"] is False
    assert lease["pid"] > 0 and 0 < lease["ends_in_ms"] <= 300 and lease["age_ms"] < 300
    assert "connection" not in lease
    assert is_suspended(client)
    began = time.monotonic()
    wait_running(client)
    assert 0.1 < time.monotonic() - began < 2
    wait_no_lease(client)
    assert daemon.said("its time was up, it was resumed")


def test_without_terms_there_is_no_lease(client):
    make(client)
    info = suspend(client)
    assert "lease" not in info and client.lease_list() == {"leases": []}
    time.sleep(0.1)
    assert is_suspended(client)


def test_terms_are_checked(client):
    make(client)
    assert fails("invalid_params", client.device_suspend, name="d", resume_after_ms=5).data["path"] == "/resume_after_ms"
    error = fails("invalid_params", client.device_suspend, name="d", resume_on_disconnect=True)
    assert error.data["path"] == "/resume_on_disconnect"
    for bad in (0, -1, 86400001, "5", 1.5):
        error = fails("invalid_params", client.device_suspend, name="d", flags=SUSPEND, resume_after_ms=bad)
        assert error.data["path"] == "/resume_after_ms"
    assert not is_suspended(client) and client.lease_list() == {"leases": []}


def test_over_http_there_is_no_connection_that_stays(client, daemon):
    make(client)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "device_suspend",
                       "params": {"name": "d", "flags": SUSPEND, "resume_on_disconnect": True}})
    with socket.socket(socket.AF_UNIX) as http:
        http.settimeout(dmrpc.TIMEOUT)
        http.connect(str(daemon.socket))
        http.sendall(f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = b""
        while more := http.recv(65536):
            answer += more
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["data"]["path"] == "/resume_on_disconnect" and "HTTP" in error["data"]["reason"]
    assert not is_suspended(client)


def test_the_longest_time_for_all(tmp_path):
    with dmrpc.Daemon(tmp_path, "--lease-seconds", "1") as daemon, daemon.client() as client:
        assert client.server_info()["limits"]["lease_seconds"] == 1
        make(client)
        assert fails("invalid_params", client.device_suspend, name="d", flags=SUSPEND,
                     resume_after_ms=1001).data["path"] == "/resume_after_ms"
        assert 0 < suspend(client)["lease"]["ends_in_ms"] <= 1000
        wait_running(client)
        # One that ends with its connection does not last longer either.
        lease = suspend(client, resume_on_disconnect=True)["lease"]
        assert lease["resume_on_disconnect"] and lease["ends_in_ms"] <= 1000
        assert suspend(client, resume_after_ms=20)["lease"]["ends_in_ms"] <= 20
        wait_running(client)


# --- the end with the connection ---

def test_a_lease_ends_with_its_connection(client, daemon):
    make(client)
    with daemon.client() as agent:
        lease = suspend(agent, resume_on_disconnect=True)["lease"]
        assert lease == {"resume_on_disconnect": True}
        (listed,) = client.lease_list()["leases"]
        assert listed["resume_on_disconnect"] and "ends_in_ms" not in listed and listed["connection"] > 0
        assert is_suspended(client)
    wait_running(client)
    wait_no_lease(client)
    assert daemon.said("its connection had gone, it was resumed")


def test_the_connection_goes_before_the_suspend_is_done(client, daemon):
    make(client)
    client.simulate_stall(name="d", drain=True)
    agent = daemon.client()
    agent.start("device_suspend", name="d", flags=SUSPEND, resume_on_disconnect=True)
    deadline = time.monotonic() + 5
    while not client.lease_list()["leases"]:
        assert time.monotonic() < deadline
    agent.close()
    wait_no_lease(client)  # which ends the suspend that drains
    assert not is_suspended(client)
    client.simulate_stall(name="d")


def test_the_connection_goes_while_another_call_of_it_blocks(client, daemon):
    """It may wait for good, for the very device that is leased: that is noticed all the same."""
    make(client)
    make(client, "stacked")
    client.simulate_stall(name="stacked", drain=True)
    agent = daemon.client()
    suspend(agent, resume_on_disconnect=True)
    agent.start("device_suspend", name="stacked", flags=SUSPEND)
    deadline = time.monotonic() + 5
    while not [call for call in client.calls_list()["calls"] if call["method"] == "device_suspend"]:
        assert time.monotonic() < deadline
    # To stop sending is not to go.
    agent.socket.shutdown(socket.SHUT_WR)
    time.sleep(0.1)
    assert is_suspended(client)
    agent.close()
    wait_running(client)
    wait_no_lease(client)
    assert daemon.said("its connection had gone, it was resumed")
    # What was received is carried out.
    assert [call["name"] for call in client.calls_list()["calls"] if call["method"] == "device_suspend"] == ["stacked"]
    client.simulate_stall(name="stacked")
    deadline = time.monotonic() + 5
    while not is_suspended(client, name="stacked"):
        assert time.monotonic() < deadline


def test_the_connection_goes_before_the_suspend_has_begun(client, daemon):
    make(client)
    fault = client.simulate_fault_add(ioctl="DM_TABLE_CLEAR", held=True)["fault"]
    with daemon.client() as busy, daemon.client() as agent:
        clear = busy.start("table_clear", name="d")
        agent.start("device_suspend", name="d", flags=SUSPEND, resume_on_disconnect=True)
        agent.drained()
        agent.close()
        time.sleep(0.1)
        client.simulate_fault_remove(fault=fault)
        busy.finish(clear)
    deadline = time.monotonic() + 5
    while "its connection had gone" not in daemon.log():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not is_suspended(client) and client.lease_list() == {"leases": []}


# --- who holds it ---

def test_the_holder_sets_new_terms(client):
    make(client)
    suspend(client, resume_after_ms=60000)
    assert suspend(client)["lease"]["ends_in_ms"] > 50000  # none given: they stay
    assert suspend(client, resume_after_ms=50)["lease"]["ends_in_ms"] <= 50
    wait_running(client)


def test_another_connection_of_the_same_user_holds_a_lease_by_time(client, daemon):
    make(client)
    suspend(client, resume_after_ms=60000)
    with daemon.client() as other:
        assert suspend(other, resume_after_ms=30000)["lease"]["ends_in_ms"] <= 30000
        # From now on it ends with that connection, and is that connection's alone.
        assert suspend(other, resume_on_disconnect=True)["lease"] == {"resume_on_disconnect": True}
        error = fails("device_busy", client.device_suspend, name="d", flags=SUSPEND, resume_after_ms=5)
        assert "while connection" in error.data["state"] and "lease_list" in error.data["hint"]
        fails("device_busy", client.device_suspend, name="d", flags=SUSPEND)
    wait_running(client)


def test_a_device_that_somebody_else_suspended_gets_no_lease(client):
    make(client)
    suspend(client)
    info = suspend(client, resume_after_ms=20)
    assert info["already_suspended"] is True and "lease" not in info
    time.sleep(0.1)
    assert is_suspended(client) and client.lease_list() == {"leases": []}


# --- what else ends it ---

def test_a_resume_ends_it(client, daemon):
    make(client)
    suspend(client, resume_after_ms=300)
    client.device_resume(name="d")
    assert client.lease_list() == {"leases": []}
    suspend(client)  # without a lease
    time.sleep(0.5)
    assert is_suspended(client)
    assert "its time was up" not in daemon.log()


def test_a_resume_that_fails_does_not(client):
    make(client)
    suspend(client, resume_after_ms=300)
    client.simulate_fault_add(ioctl="DM_DEV_SUSPEND", calls=1, errno=5)
    fails("kernel_error", client.device_resume, name="d")
    assert client.lease_list()["leases"]
    wait_running(client)


def test_a_remove_ends_it(client):
    make(client)
    suspend(client, resume_after_ms=300)
    client.device_remove(name="d")
    assert client.lease_list() == {"leases": []}
    # Its number is another device's now, which nobody resumes.
    make(client)
    suspend(client)
    time.sleep(0.5)
    assert is_suspended(client)


def test_remove_all_ends_it(client):
    make(client)
    suspend(client, resume_after_ms=60000)
    client.remove_all(confirm=True)
    assert client.lease_list() == {"leases": []}


def test_a_rename_is_followed(client):
    info = make(client, uuid="U-1")
    suspend(client, resume_after_ms=300)
    client.device_rename(name="d", new_name="e")
    (lease,) = client.lease_list()["leases"]
    assert lease["name"] == "e" and lease["uuid"] == "U-1"
    make(client, "d")  # the old name is another device's
    suspend(client)
    wait_running(client, device=info["device"])
    assert is_suspended(client, name="d") and not is_suspended(client, name="e")


def test_an_unfinished_table_is_not_activated(client):
    make(client)
    suspend(client, resume_after_ms=300)
    client.table_load(name="d", targets=LONGER)
    wait_running(client)
    wait_no_lease(client)
    assert client.table_status(name="d", flags=["DM_STATUS_TABLE"])["targets"] == ZERO
    assert "DM_INACTIVE_PRESENT" not in client.device_status(name="d")["flags"]


def test_a_table_that_was_there_before_the_suspend_is(client):
    make(client)
    client.table_load(name="d", targets=LONGER)
    suspend(client, resume_after_ms=100)
    wait_running(client)
    wait_no_lease(client)
    assert client.table_status(name="d", flags=["DM_STATUS_TABLE"])["targets"] == LONGER


@pytest.mark.parametrize("clears", [False, True])
def test_nor_is_one_that_took_the_place_of_a_table_from_before(client, clears):
    make(client)
    client.table_load(name="d", targets=LONGER)
    suspend(client, resume_after_ms=60000)
    if clears:
        client.table_clear(name="d")
    client.table_load(name="d", targets=LONGEST)
    suspend(client, resume_after_ms=1)
    wait_running(client)
    wait_no_lease(client)
    assert client.table_status(name="d", flags=["DM_STATUS_TABLE"])["targets"] == ZERO
    assert "DM_INACTIVE_PRESENT" not in client.device_status(name="d")["flags"]


def test_a_suspend_that_fails_leaves_no_lease(client):
    make(client)
    client.simulate_fault_add(ioctl="DM_DEV_SUSPEND", calls=1, errno=5)
    fails("kernel_error", client.device_suspend, name="d", flags=SUSPEND, resume_after_ms=60000)
    assert client.lease_list() == {"leases": []} and not is_suspended(client)


def test_a_roll_back_that_fails_is_tried_again(client, daemon):
    make(client)
    suspend(client, resume_after_ms=50)
    client.simulate_fault_add(ioctl="DM_DEV_SUSPEND", calls=1, errno=5)
    wait_running(client)
    wait_no_lease(client)
    assert daemon.said("could not be resumed: DM_DEV_SUSPEND")


def test_a_roll_back_waits_for_its_turn(client, daemon):
    make(client)
    suspend(client, resume_after_ms=100)
    fault = client.simulate_fault_add(ioctl="DM_TABLE_LOAD", held=True)["fault"]
    with daemon.client() as loader:
        load = loader.start("table_load", name="d", targets=LONGER)
        time.sleep(0.4)
        assert client.lease_list()["leases"][0]["ending"] is True and is_suspended(client)
        client.simulate_fault_remove(fault=fault)
        loader.finish(load)
    wait_running(client)
    assert client.table_status(name="d", flags=["DM_STATUS_TABLE"])["targets"] == ZERO


def test_a_resume_that_meets_the_roll_back_waits_for_it(client, daemon):
    make(client)
    suspend(client, resume_after_ms=50)
    fault = client.simulate_fault_add(ioctl="DM_DEV_SUSPEND", held=True)["fault"]
    deadline = time.monotonic() + 5
    while not client.lease_list()["leases"][0]["ending"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.05)
    with daemon.client() as other:
        resume = other.start("device_resume", name="d")
        other.drained()
        time.sleep(0.05)
        client.simulate_fault_remove(fault=fault)
        assert "DM_SUSPEND" not in other.finish(resume)["flags"]
    wait_no_lease(client)


def test_new_terms_call_off_a_roll_back_that_has_not_begun(client, daemon):
    make(client)
    suspend(client, resume_after_ms=100)
    fault = client.simulate_fault_add(ioctl="DM_TABLE_CLEAR", held=True)["fault"]
    with daemon.client() as first, daemon.client() as second:
        clear = first.start("table_clear", name="d")
        first.drained()
        renew = second.start("device_suspend", name="d", flags=SUSPEND, resume_after_ms=60000)
        time.sleep(0.4)
        client.simulate_fault_remove(fault=fault)
        first.finish(clear)
        assert second.finish(renew)["lease"]["ends_in_ms"] > 50000
    time.sleep(0.2)
    assert is_suspended(client) and client.lease_list()["leases"][0]["ending"] is False


def test_many_leases_end_together(client):
    names = [f"m{i}" for i in range(300)]
    for name in names:
        make(client, name)
        suspend(client, name, resume_after_ms=5000)
    assert len(client.lease_list()["leases"]) == 300
    for name in names:
        suspend(client, name, resume_after_ms=1)
    wait_no_lease(client)
    assert not any(is_suspended(client, name=name) for name in names)


# --- the end of the daemon ---

@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_at_its_end_the_daemon_rolls_back_all(tmp_path, signum):
    daemon = dmrpc.Daemon(tmp_path)
    with daemon.client() as client:
        for name in ("a", "b", "c"):
            make(client, name)
            suspend(client, name, resume_after_ms=60000, resume_on_disconnect=True)
        began = time.monotonic()
        daemon.stop(signum)
    assert time.monotonic() - began < 10
    log = daemon.log()
    assert log.count("it was resumed") == 3, log
