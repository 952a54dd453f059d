# SPDX-License-Identifier: Apache-2.0
"""scripts/load in short: nothing is lost, swapped, doubled or kept."""

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
