# SPDX-License-Identifier: Apache-2.0
"""scripts/load in short: nothing is lost, swapped, doubled or kept."""

import json
import re
import subprocess

import dmrpc

SANITIZED = dmrpc.is_sanitized()


def load(program, daemon, *numbers):
    path = dmrpc.build_dir() / "tests" / "load" / program
    return subprocess.run([str(path), str(daemon.socket), str(daemon.process.pid), *map(str, numbers)],
                          capture_output=True, text=True, timeout=300, check=False)


def test_mixed_calls(daemon):
    result = load("load_mixed", daemon, 20000 if SANITIZED else 100000, 32, 3)
    assert result.returncode == 0, result.stdout + result.stderr
    before, after = map(int, re.search(r"memory_kib=(\d+)->(\d+)", result.stdout).groups())
    assert SANITIZED or after < before + 16384, result.stdout


def test_a_crowd(tmp_path):
    count = 200 if SANITIZED else 900  # the preset of the limit of open files is 1,024
    with dmrpc.Daemon(tmp_path, "--connections-per-user", 1000) as daemon:
        result = load("load_crowd", daemon, count, count // 4, count * 10)
        assert result.returncode == 0, result.stdout + result.stderr


def threads(daemon):
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as status:
        return int(re.search(r"Threads:\s+(\d+)", status.read())[1])


def test_ten_thousand_waits(daemon, client):
    """They cost no thread, and one event ends them all."""
    client.device_create(name="d")
    client.table_load(name="d", targets=[{"start": 0, "length": 8, "type": "zero", "params": ""}])
    client.device_resume(name="d")
    before = threads(daemon)
    waiters = [daemon.client() for _ in range(10)]
    for waiter in waiters:
        for _ in range(1000):
            waiter.start("device_wait", name="d", event_nr=0)
        waiter.start("version")
        assert "version" in json.loads(waiter.read_line())["result"]  # all before it have been read
    assert client.server_stats()["waits"] == 10000
    assert threads(daemon) <= before + 1  # that lists
    client.simulate_event(name="d")
    for waiter in waiters:
        replies = [json.loads(waiter.read_line()) for _ in range(1000)]
        assert {reply["id"] for reply in replies} == set(range(1, 1001))
        assert all(reply["result"]["info"]["event_nr"] == 1 for reply in replies)
        waiter.close()
    assert client.server_stats()["waits"] == 0
