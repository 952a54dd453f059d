# SPDX-License-Identifier: Apache-2.0
"""The recorded replies are still those of the real kernel. Runs in the virtual machine, by `run`."""

import play

KIND = "kernel"


def test_scenario(world, expected, file, scenario):
    outcomes = play.Player(scenario, world).play()
    report = play.differences(scenario, expected[file][scenario["name"]], outcomes)
    assert not report, "\n".join(report)
