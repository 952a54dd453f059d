# SPDX-License-Identifier: Apache-2.0
"""The real kernel answers random walks as the simulated one did. Runs in the virtual machine, by `run`, which has
made the plans before: DMRPC_PLANS is their folder."""

import os
import pathlib

import play
import pytest
import walk

KIND = "kernel"
PLANS = sorted(pathlib.Path(os.environ["DMRPC_PLANS"]).glob("*.plan.gz"), key=lambda path: int(path.name.split(".")[0]))
SHRINK_SECONDS = 60


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    with play.world_of("simulated", tmp_path_factory.mktemp("simulated")) as made:
        yield made


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: f"seed {path.name.split('.')[0]}")
def test_walk(world, simulated, plan):
    report = walk.follow_plan(plan, world, simulated, SHRINK_SECONDS)
    assert not report, report
