# SPDX-License-Identifier: Apache-2.0
"""The log, where nobody reads it: lines are dropped and counted, and nothing waits for them."""

import contextlib
import json
import subprocess
import time

import pytest

import dmrpc
from stuck import Stuck

ZERO = {"start": 0, "length": 8, "type": "zero", "params": ""}
LINES = 300


@pytest.fixture
def stuck(tmp_path):
    made = Stuck(tmp_path)
    yield made
    made.close()


def fill(stuck, client, count=LINES):
    """Nearly every lease that ends with its connection is a line, and two records of the audit."""
    device = {"name": "d"}
    with contextlib.suppress(dmrpc.RpcError):  # the second time it is there
        client.device_create(**device)
        client.table_load(**device, targets=[ZERO])
        client.device_resume(**device)
    for _ in range(count):
        with stuck.client() as holder:
            holder.device_suspend(**device, flags=["DM_SUSPEND"], resume_on_disconnect=True)
        deadline = time.monotonic() + 10
        while "DM_SUSPEND" in client.device_status(**device)["flags"]:
            assert time.monotonic() < deadline
        # Were lease_list the first to see that the device runs, nothing would be said.
        time.sleep(0.005)
        while client.lease_list()["leases"]:
            assert time.monotonic() < deadline


def test_it_serves_on_and_ends_in_time(stuck):
    with stuck.client() as client:
        fill(stuck, client)
        dropped = client.server_stats()["log_lines_dropped"]
        assert 0 < dropped < LINES
        assert client.version()
    assert stuck.end() < 10


def test_what_was_dropped_is_told_when_it_flows_again(stuck):
    with stuck.client() as client:
        fill(stuck, client)
        dropped = client.server_stats()["log_lines_dropped"]
        said = stuck.lines_until(b"lines of this log were dropped")
        assert f"dmrpcd: {dropped} lines of this log were dropped." in said
        lines = [each for each in said if "its connection had gone" in each]
        # lease_list may be the first to see that a device runs: then nothing is said.
        assert 100 < len(lines) <= LINES - dropped
        stuck.text = b""
        fill(stuck, client, 20)
        stuck.lines_until(b"its connection had gone")
        assert client.server_stats()["log_lines_dropped"] == dropped
    assert stuck.end() < 10


def test_a_reader_that_goes_stops_nothing(stuck):
    with stuck.client() as client:
        stuck.stop_reading()
        fill(stuck, client, 20)
        for _ in range(500):  # a thread of its own writes the lines
            if client.server_stats()["log_lines_dropped"] > 0:
                break
            time.sleep(0.01)
        assert client.server_stats()["log_lines_dropped"] > 0
    assert stuck.end() < 10


def test_a_start_that_fails_is_told(tmp_path):
    """Its line is written although the log's thread had been started by then."""
    (tmp_path / "precious").write_text("data")
    program = dmrpc.build_dir() / "server" / "dmrpcd"
    result = subprocess.run([program, "--simulate", "--socket", tmp_path / "precious"],
                            stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert result.returncode == 1 and "file of another kind" in result.stderr


def test_the_metric(daemon, client):
    assert client.server_stats()["log_lines_dropped"] == 0
    with daemon.client() as http:
        http.send("GET /metrics HTTP/1.1\r\nHost: dm\r\nConnection: close\r\n\r\n")
        assert b"\ndmrpc_log_lines_dropped_total 0\n" in http.read_all()


def test_the_simulated_kernel_locks_nothing(client):
    memory = client.server_info()["memory"]
    assert memory["locked_bytes"] == 0 and memory["missing"] == []
    assert memory["resident_bytes"] > 1 << 20, json.dumps(memory)
