# SPDX-License-Identifier: Apache-2.0
"""Runs a section's shell snippets one after another in one shell, and compares what they print with what it shows."""

import os
import re
import subprocess

import snippets

BUILD = os.environ.get("DMRPC_BUILD", str(snippets.ROOT / "build" / "dev"))
MARK = "=== snippet"


def pairs(text):
    """(snippet, shown) of a section; each `sh` block is followed by a block with what it prints."""
    blocks = [block for block in snippets.fences(text) if block[0] in ("sh", "json", "text")]
    assert [language == "sh" for language, _ in blocks] == [True, False] * (len(blocks) // 2)
    return [(blocks[at][1], blocks[at + 1][1]) for at in range(0, len(blocks), 2)]


def check(text, *prefix):
    """Runs the snippets under the command `prefix`, from the top of the tree."""
    steps = pairs(text)
    script = "".join(f"echo '{MARK}'\n{snippet}" for snippet, _ in steps)
    script = script.replace("build/release/", f"{BUILD}/")
    # What a snippet that fails has started would hold the output open.
    script = f"trap '[ $? = 0 ] || kill $(jobs -p)' EXIT\n{script}"
    done = subprocess.run([*prefix, "bash", "-e", "-c", script], cwd=snippets.ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stdout}\n{done.stderr}"
    # In the machine both outputs are one: the daemon's own lines, and its audit's, are no reply.
    own = r'^dmrpcd: .*\n|\{"audit":.*\n'
    outputs = re.sub(own, "", done.stdout, flags=re.MULTILINE).split(f"{MARK}\n")[1:]
    assert len(outputs) == len(steps)
    for (snippet, shown), output in zip(steps, outputs):
        if shown.startswith(("{", "[")):
            shown, output = snippets.json_texts(shown), snippets.json_texts(output)
        assert snippets.shows(shown, output), f"{snippet}\nis said to print\n{shown}\nbut prints\n{output}"
