# SPDX-License-Identifier: Apache-2.0
"""A real daemon on the simulated kernel, for clients that are not ours."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import dmrpc  # noqa: E402


@pytest.fixture
def daemon(tmp_path):
    with dmrpc.Daemon(tmp_path) as daemon:
        yield daemon
