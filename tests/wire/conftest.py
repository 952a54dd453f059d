# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the wire tests: a real daemon on the simulated kernel, and a record of all that it answered."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import dmrpc  # noqa: E402
import schema  # noqa: E402


@pytest.fixture(scope="session")
def shared_daemon(tmp_path_factory):
    """One daemon for tests that leave no trace in it."""
    with dmrpc.Daemon(tmp_path_factory.mktemp("shared")) as daemon:
        yield daemon


@pytest.fixture
def daemon(tmp_path):
    """A daemon of the test's own."""
    with dmrpc.Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def client(daemon):
    with daemon.client() as client:
        yield client


@pytest.fixture(scope="session", autouse=True)
def recorded():
    """Every reply of every test, and every record, is held against the schema when the last test has run."""
    dmrpc.Client.recorded, dmrpc.Daemon.recorded = [], []
    yield dmrpc.Client.recorded
    document = schema.Document()
    faults = document.faults(dmrpc.Client.recorded)
    assert not faults, "replies that the schema does not allow:\n" + "\n".join(faults)
    faults = document.record_faults(dmrpc.Daemon.recorded)
    assert not faults, "records of the audit that it does not allow:\n" + "\n".join(faults)
