# SPDX-License-Identifier: Apache-2.0
"""A resume stands behind nothing but changes of its own device: all else may wait for it."""

import json
import time

import pytest

import dmrpc
from listener import Listener

TABLE = [{"start": 0, "length": 8, "type": "zero", "params": ""}]
WORKERS, QUEUED = 2, 4


def suspended(client, name):
    return "DM_SUSPEND" in client.device_status(name=name)["flags"]


@pytest.fixture
def full(tmp_path):
    """A daemon of which all workers are stuck in suspends, and more wait for them; "held" and "leased" are suspended."""
    with dmrpc.Daemon(tmp_path, "--workers", WORKERS, "--queued-calls", QUEUED) as daemon:
        with daemon.client() as client:
            stuck = [f"stuck-{i}" for i in range(QUEUED)]
            for name in ["held", "leased", *stuck]:
                client.device_create(name=name)
                client.table_load(name=name, targets=TABLE)
                client.device_resume(name=name)
            client.device_suspend(name="held", flags=["DM_SUSPEND"])
            client.device_suspend(name="leased", flags=["DM_SUSPEND"], resume_after_ms=1500)
            waiting = []
            for name in stuck:
                client.simulate_stall(name=name, drain=True)
                waiting.append(daemon.client())
                waiting[-1].start("device_suspend", name=name, flags=["DM_SUSPEND"])
            deadline = time.monotonic() + 10
            while (stats := client.server_stats())["pending"] < QUEUED or stats["workers_busy"] < WORKERS:
                assert time.monotonic() < deadline
            yield daemon, client
            for name in stuck:
                client.simulate_stall(name=name)
            for each in waiting:
                each.finish(1)
                each.close()


@pytest.mark.parametrize("method", ["device_resume", "device_suspend"])
def test_a_resume_needs_no_worker(full, method):
    daemon, client = full
    with daemon.client() as other, pytest.raises(dmrpc.RpcError) as caught:
        other.table_status(name="held")
    assert caught.value.name == "overloaded" and caught.value.data["limit"] == QUEUED
    assert getattr(client, method)(name="held") and not suspended(client, "held")
    stats = client.server_stats()
    assert stats["workers"] == stats["workers_busy"] == stats["workers_limit"] == WORKERS


def test_a_lease_ends_without_a_worker(full):
    _, client = full
    deadline = time.monotonic() + 10
    while suspended(client, "leased"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_long_request_needs_no_worker(full):
    """It is parsed and decoded outside of the loop, but not behind calls."""
    _, client = full
    client.methods[99] = "device_resume"
    request = json.dumps(client.request("device_resume", {"name": "held"}, 99))
    client.send(request[:-1] + " " * 16384 + "}")
    assert client.finish(99)["name"] == "held"
    assert not suspended(client, "held")


def test_the_answer_to_a_wait_needs_no_worker(full):
    daemon, client = full
    with daemon.client() as waiter:
        wait = waiter.start("device_wait", name="leased", event_nr=0)
        waiter.drained()
        client.simulate_event(name="leased")
        assert waiter.finish(wait)["info"]["event_nr"] == 1


def test_a_subscription_needs_no_worker(full):
    daemon, client = full
    with Listener(daemon) as listener:
        opened = listener.events_subscribe(name="held")
        assert [device["name"] for device in opened["devices"]] == ["held"]
        client.device_resume(name="held")
        assert listener.next()["kind"] == "resumed"
        client.simulate_event(name="held")
        assert listener.next()["kind"] == "changed"
