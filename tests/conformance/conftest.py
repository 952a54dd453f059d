# SPDX-License-Identifier: Apache-2.0
"""Every scenario is a test of its own, in both directions: against the simulated kernel and the real one."""

import json
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import play  # noqa: E402

# What needs a real kernel is for `run` alone: it would remove all devices of the machine that it runs on.
collect_ignore = [] if os.environ.get("DMRPC_CONFORMANCE") == "kernel" else ["test_real.py", "test_walks.py"]


def scenarios(kind):
    """The scenarios that one kernel can play, as pytest's parameters: file, scenario."""
    for path in sorted(play.SCENARIOS.glob("*.json")):
        for name, scenario in play.load(path).items():
            if play.is_for(scenario, kind):
                yield pytest.param(path.name, scenario, id=f"{path.stem}: {name}")


def pytest_generate_tests(metafunc):
    kind = getattr(metafunc.module, "KIND", None)
    if kind and "scenario" in metafunc.fixturenames:
        metafunc.parametrize(("file", "scenario"), scenarios(kind))


@pytest.fixture(scope="module")
def world(request, tmp_path_factory):
    """One daemon for all scenarios: each leaves it as it found it."""
    with play.world_of(request.module.KIND, tmp_path_factory.mktemp("daemon")) as made:
        yield made


@pytest.fixture(scope="session")
def expected():
    """{file: {name: outcomes}}"""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in play.EXPECTED.glob("*.json")}
