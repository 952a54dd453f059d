# SPDX-License-Identifier: Apache-2.0
"""Does the walk-through "Add a method" of docs/HACKING.md work, to the letter, in a copy of the tree?"""

import json
import os
import re
import shutil
import subprocess

import snippets

STEP = re.compile(r"^<!-- (put: (?P<path>\S+), (before: \"(?P<before>.*)\"|at the end)|run) -->\n"
                  r"```\w+\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
BY_HAND = {"proto/dmrpc.openrpc.yaml", "server/methods/list.c", "tests/wire/test_calls.py"}
GENERATED = {"proto/dmrpc.openrpc.json", "proto/dmrpcd.config.schema.json", "docs/METHODS.md"}


def sources():
    """What a clone would hold: committed or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=snippets.ROOT, stdout=subprocess.PIPE, check=True).stdout
    return sorted({os.fsdecode(path) for path in listed.split(b"\0") if path})


def copy_tree(to):
    """Returns what each file held."""
    contents = {}
    for path in sources():
        if (snippets.ROOT / path).is_file():
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(snippets.ROOT / path, to / path)
            contents[path] = (to / path).read_bytes()
    return contents


def put(path, before, text):
    old = path.read_text(encoding="utf-8")
    at = len(old)
    if before is not None:
        assert old.count(f"{before}\n") == 1, f"{path.name} does not have the line {before!r} once"
        at = old.index(f"{before}\n")
    path.write_text(old[:at] + text + old[at:], encoding="utf-8")


def run(tree, text):
    environment = {name: value for name, value in os.environ.items() if name != "DMRPC_BUILD"}
    done = subprocess.run(["bash", "-e", "-c", text], cwd=tree, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


def ask(tree, request):
    """One call of a daemon built in the copy."""
    script = f"""
        build/dev/server/dmrpcd --simulate --socket s & daemon=$!
        until [ -S s ]; do sleep 0.1; done
        echo '{json.dumps(request)}' | socat -t 60 - UNIX-CONNECT:s
        kill $daemon
        wait $daemon
    """
    return json.loads(re.sub(r"^(dmrpcd: |\{\"audit\").*\n", "", run(tree, script), flags=re.MULTILINE))


def test_the_walk_through(tmp_path):
    before = copy_tree(tmp_path)
    text = snippets.section(snippets.read("docs/HACKING.md"), "Add a method")
    outputs = []
    for step in STEP.finditer(text):
        if step["path"]:
            put(tmp_path / step["path"], step["before"], step["text"])
        else:
            outputs.append(run(tmp_path, step["text"]))
    assert len(outputs) == 2 and "1 passed" in outputs[1]
    changed = {path for path, content in before.items() if (tmp_path / path).read_bytes() != content}
    assert changed == BY_HAND | GENERATED
    reply = ask(tmp_path, {"jsonrpc": "2.0", "id": 1, "method": "device_count"})
    assert reply == {"jsonrpc": "2.0", "id": 1, "result": {"count": 0}}
