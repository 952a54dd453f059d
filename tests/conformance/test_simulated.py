# SPDX-License-Identifier: Apache-2.0
"""The simulated kernel answers as the real one did when the scenarios were recorded."""

import play
import pytest

KIND = "simulated"


def test_scenario(world, expected, file, scenario):
    lacking = play.lacks(scenario, world.client)
    if lacking:
        pytest.skip(f"the simulated kernel has no target type {', '.join(lacking)}")
    outcomes = play.Player(scenario, world).play()
    report = play.differences(scenario, expected[file][scenario["name"]], outcomes)
    assert not report, "\n".join(report)


def test_nothing_is_expected_of_scenarios_that_are_gone(expected):
    for path in play.SCENARIOS.glob("*.json"):
        assert list(expected[path.name]) == list(play.load(path)), f"record {path.name} anew"
