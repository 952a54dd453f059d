# SPDX-License-Identifier: Apache-2.0
"""Claims of docs/SECURITY.md about other namespaces that a simulated kernel, in a chroot perhaps, cannot show."""

import os

import dm
from calls import line
from others import another, ask_as

OTHER = 65533


def test_root_of_a_user_namespace_is_who_it_is_outside(daemons, devices):
    """Root in a container with user ids of its own: the kernel tells which it is outside, and it may read."""
    info = devices.make([line(0, 8, "zero")])
    within = [*another(OTHER), "unshare", "--user", "--map-root-user"]
    with daemons() as served:
        os.chmod(served.socket, 0o666)
        removed, seen = ask_as(served, within, ("device_remove", {"name": info["name"]}),
                               ("device_status", {"name": info["name"]}))
    assert removed["error"]["data"]["error"] == "permission_denied"
    assert f"User id {OTHER} " in removed["error"]["message"]
    assert seen["result"]["name"] == info["name"] and info["name"] in str(dm.listed())
