# SPDX-License-Identifier: Apache-2.0
"""Which build has no sanitizers, for the tests that could show nothing with them."""

import os
import pathlib

import pytest
from dmrpc import ROOT, build_dir, is_sanitized


def plain_build():
    """A build without sanitizers, which cannot lock their memory, and keep what was freed in it."""
    chosen = os.environ.get("DMRPC_PLAIN_BUILD") or (ROOT / "build" / "dev" if is_sanitized() else build_dir())
    build = pathlib.Path(chosen).resolve()
    if not (build / "server" / "dmrpcd").exists():
        pytest.skip(f"no build without sanitizers in {build}: make the preset dev, or set DMRPC_PLAIN_BUILD")
    return build
