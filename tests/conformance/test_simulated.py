# SPDX-License-Identifier: Apache-2.0
"""The simulated kernel answers as the real one did when the scenarios were recorded."""

import covered
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


def test_the_scenarios_cover_every_command_flag_and_error(expected):
    assert sorted(covered.missing(expected)) == []


def test_no_exemption_is_needless(expected):
    assert sorted(covered.needless(expected)) == []


def test_scenarios_that_wait_for_a_removal_say_why():
    for path in play.SCENARIOS.glob("*.json"):
        for name, scenario in play.load(path).items():
            waits = any("gone" in step for step in play.flatten(scenario["steps"]))
            assert not waits or scenario.get("differs"), f"{path.name}: {name}"


def test_there_are_at_least_150_scenarios():
    assert sum(len(play.load(path)) for path in play.SCENARIOS.glob("*.json")) >= 150
