# SPDX-License-Identifier: Apache-2.0
"""The calls about the kernel's interface and about the server."""

import json
import re
import subprocess

import dm
from calls import fails
from contract import DOCUMENT

KERNEL = re.compile(r"Driver version: +(\d+)\.(\d+)\.(\d+)")
TARGET = re.compile(r"^(\S+) +v(\d+)\.(\d+)\.(\d+)$", re.MULTILINE)


def version(major, minor, patch):
    return {"major": int(major), "minor": int(minor), "patch": int(patch)}


def targets_by_dmsetup(*command):
    return {name: version(*numbers) for name, *numbers in TARGET.findall(dm.text(*command))}


def test_version_is_the_kernels_own(client):
    result = client.version()
    assert result["version"] == version(*KERNEL.search(dm.text("version")).groups())
    assert result["backend"] == "kernel"


def test_list_versions_shows_every_target_with_its_version(client):
    result = {target["name"]: target["version"] for target in client.list_versions()["targets"]}
    assert result == targets_by_dmsetup("targets")
    assert {"linear", "striped", "error"} <= set(result)


def test_target_version_loads_the_module(client):
    # A type that no other test here uses.
    subprocess.run(["modprobe", "--remove", "dm-switch"], timeout=30, check=False)
    assert "switch" not in targets_by_dmsetup("targets")
    result = client.target_version(type="switch")
    assert {result["name"]: result["version"]} == targets_by_dmsetup("target-version", "switch")
    assert targets_by_dmsetup("targets")["switch"] == result["version"]


def test_a_target_type_that_does_not_exist_is_an_error_with_its_name(client):
    with_name = fails(lambda: client.target_version(type="nosuchtarget"), "kernel_error", errno_name="EINVAL",
                      ioctl="DM_GET_TARGET_VERSION")
    assert "device" not in with_name


def test_dev_majors_are_those_of_proc_devices(client):
    assert client.dev_majors()["majors"] == dm.majors()


def test_the_server_says_that_it_serves_the_kernel(client, daemon):
    info = client.server_info()
    assert info["backend"] == "kernel"
    assert info["pid"] == daemon.process.pid


def test_the_server_counts_its_calls(client):
    def versions():
        return next(row["ended"] for row in client.server_stats()["calls"] if row["method"] == "version")

    before = versions()
    client.version()
    assert versions() == before + 1


def test_discover_answers_the_document_of_this_tree(client):
    document = client.call("rpc.discover")
    assert document == json.loads(DOCUMENT.read_text(encoding="utf-8"))
