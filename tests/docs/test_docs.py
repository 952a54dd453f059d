# SPDX-License-Identifier: Apache-2.0
"""Do the documents speak of what is there? Paths, commands, options, and snippets with what they print."""

import os
import pathlib
import re
import shutil
import stat
import subprocess

import pytest

import snippets
import walk

ROOT = snippets.ROOT
PAGES = ["README.md", "CHANGELOG.md", "docs/ARCHITECTURE.md", "docs/HACKING.md", "docs/METHODS.md",
         "docs/SECURITY.md", "tests/data/README.md"]
FOLDERS = {"docs", "lib", "proto", "scripts", "server", "tests"}
DAEMON = pathlib.Path(walk.BUILD) / "server" / "dmrpcd"
OPTION = re.compile(r"--[a-z][a-z-]*")
# What scripts/install-deps brings; perf and strace are the reader's own.
PROGRAMS = {"cmake", "ctest", "curl", "socat", "valgrind", "callgrind_annotate"}


def inline_code(text):
    return re.findall(r"`([^`\n]+)`", snippets.without_fences(text))


def command_lines(text):
    """Lines of the shell blocks and of those without a language, continuation lines joined."""
    blocks = "\n".join(block for language, block in snippets.fences(text) if language in ("", "sh"))
    return blocks.replace("\\\n", " ").splitlines()


# --- paths ---

def is_path(code):
    """A file of this tree: below one of its folders, or a bare name with an ending that only files have."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", code):
        return False
    return code.split("/")[0] in FOLDERS and "/" in code or re.fullmatch(r"[\w-]+\.(md|c|h|txt)", code)


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    folder = (ROOT / page).parent
    dead = [code for code in inline_code(snippets.read(page)) if is_path(code)
            and not (ROOT / code).exists() and not (folder / code).exists()]
    assert not dead


def anchors(page):
    """What GitHub makes of the headings, and the anchors that are written out."""
    text = snippets.read(page)
    headings = re.findall(r"^#+ (.*)$", snippets.without_fences(text), re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r"(?:id|name)=\"([^\"]+)\"", text))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", snippets.without_fences(snippets.read(page))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(os.path.relpath(target, ROOT)), link


@pytest.mark.parametrize("page", PAGES)
def test_functions_exist(page):
    sources = "".join(path.read_text(encoding="utf-8") for folder in ("lib", "server")
                      for path in (ROOT / folder).rglob("*.[ch]"))
    names = [found.group(1) for code in inline_code(snippets.read(page)) if (found := re.fullmatch(r"(\w+)\(\)", code))]
    assert not [name for name in names if not re.search(rf"\b{name}\(", sources)]


# --- claims ---

def claims():
    """The points of docs/SECURITY.md that say what is defended."""
    text = snippets.read("docs/SECURITY.md")
    section = text[text.index("\n## What is defended\n"):text.index("\n## What is not defended\n")]
    return re.findall(r"^- (.*?)(?=^- |^#|\Z)", section, re.MULTILINE | re.DOTALL)


def test_there_are_claims():
    assert len(claims()) > 15


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: claim.split(".")[0][:60])
def test_each_claim_of_security_names_its_tests(claim):
    named = re.findall(r"`(tests/[\w/]+\.(?:py|c))::(\w+)`", claim)
    assert named, "a claim without a test"
    for path, name in named:
        function = rf"^(def|static void|static int) {name}\("
        assert re.search(function, snippets.read(path), re.MULTILINE), f"{path} has no {name}"


# --- commands ---

@pytest.mark.parametrize("page", ["README.md", "docs/HACKING.md"])
def test_commands_exist(page):
    text = snippets.read(page)
    words = {word for line in [*command_lines(text), *inline_code(text)] for word in line.split()}
    for word in words:
        if word.split("/")[0] in FOLDERS and "/" in word and re.fullmatch(r"[\w./-]+", word):
            assert (ROOT / word).exists(), word
    for line in command_lines(text):
        program = line.split()[0] if line.split() else ""
        if program.split("/")[0] in FOLDERS and "/" in program:
            assert os.access(ROOT / program, os.X_OK), program
        if program in PROGRAMS:
            assert shutil.which(program), f"{program} is not installed"


def test_presets():
    text = snippets.read("docs/HACKING.md")
    presets = set(re.findall(r'"name": "(\w+)",\s*"inherits"', snippets.read("CMakePresets.json")))
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == presets
    for page in (text, snippets.read("README.md")):
        assert set(re.findall(r"--preset (\w+)", page)) <= presets
        assert set(re.findall(r"\bbuild/(\w+)/", page)) <= presets


def test_names_of_tests_and_steps():
    text = snippets.read("docs/HACKING.md")
    programs = re.findall(r"build/\w+/tests/unit/test_(\w+)", text) + re.findall(r"-R unit\.(\w+)", text)
    steps = " ".join(re.findall(r"`scripts/test ([\w ]+)`", text)).split()
    assert programs and steps
    for name in programs:
        assert (ROOT / f"tests/unit/test_{name}.c").exists(), name
    for path, word in re.findall(r"(tests/\S+\.py) -k (\w+)", snippets.without_section(text, "Add a method")):
        assert re.search(rf"def test_\w*{word}", snippets.read(path)), word
    for step in steps:
        assert f"step_{step}()" in snippets.read("scripts/test"), step


def test_demo_says_how_it_is_used():
    done = subprocess.run([ROOT / "scripts/demo", "--help"], stdout=subprocess.PIPE, text=True, check=True)
    assert "--host" in done.stdout
    done = subprocess.run([ROOT / "scripts/demo", "--no-such"], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and "usage" in done.stderr


def test_scripts_can_be_run():
    for path in [*(ROOT / "scripts").iterdir(), ROOT / "proto/generate.py", ROOT / "tests/kernel/vm"]:
        if path.is_file():
            assert path.stat().st_mode & stat.S_IXUSR, path


# --- options ---

def help_text():
    return subprocess.run([DAEMON, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout


def test_options_of_the_readme():
    text = snippets.read("README.md")
    listed = snippets.section(text, "Options") + snippets.section(text, "Limits")
    tables = "\n".join(line.split("|")[1] for line in listed.splitlines() if line.startswith("|"))
    assert set(OPTION.findall(tables)) == set(OPTION.findall(help_text()))


def test_options_of_the_man_page():
    page = snippets.read("docs/dmrpcd.8").replace("\\-", "-")
    tagged = re.findall(r"^\.TP\n\.BI? (--[a-z-]+)", page, re.MULTILINE)
    assert len(tagged) == len(set(tagged))
    assert set(tagged) == set(OPTION.findall(help_text()))


def configurations():
    """The files that the documents show."""
    page = snippets.section(snippets.read("README.md"), "Options")
    yield from (block for language, block in snippets.fences(page) if language == "json" and '"rules"' in block)
    man = snippets.read("docs/dmrpcd.8").split(".SH CONFIGURATION")[1].split(".SH ")[0]
    yield from (block.replace("\\-", "-") for block in re.findall(r"^\.nf\n\.RS\n(.*?)^\.RE", man, re.DOTALL | re.MULTILINE))


def test_configurations_are_good(tmp_path):
    shown = list(configurations())
    assert len(shown) == 2
    for text in shown:
        (tmp_path / "c.json").write_text(text)
        (tmp_path / "c.json").chmod(0o600)
        done = subprocess.run([DAEMON, "--check-config", tmp_path / "c.json"], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "good: 3 rules." in done.stdout, done.stderr


def test_defaults_of_the_man_page():
    page = snippets.read("docs/dmrpcd.8").replace("\\-", "-")
    for name, value in re.findall(r"(--[a-z-]+) N \((\d+)\)", help_text()):
        entry, _, _ = page[page.index(f".BI {name} "):].partition(".TP")
        assert f"({value})" in entry, name
    assert re.search(r"default (\S+)\)", help_text()).group(1) in page


def test_defaults_of_the_readme():
    units = {"KiB": 2**10, "MiB": 2**20, "s": 1}
    limits = dict(re.findall(r"--([a-z-]+) N \((\d+)\)", help_text()))
    table = snippets.section(snippets.read("README.md"), "Limits")
    for name, value in limits.items():
        (default,) = re.findall(rf"^\| `--{name}` \| ([^|]*) \|", table, re.MULTILINE)
        number, unit = re.match(r"([\d,]+) ?(\w*)", default).groups()
        assert int(number.replace(",", "")) * units.get(unit, 1) == int(value), name


def test_man_page_renders():
    command = ["groff", "-man", "-Tutf8", "-ww", "-z", str(ROOT / "docs/dmrpcd.8")]
    if not shutil.which("groff"):
        command = ["man", "--warnings", "-l", str(ROOT / "docs/dmrpcd.8")]
    if not shutil.which(command[0]):
        pytest.skip("neither groff nor man is here")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          env={**os.environ, "MANPAGER": "cat", "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0 and done.stderr == ""


# --- snippets ---

def test_quick_start():
    walk.check(snippets.section(snippets.read("README.md"), "Quick start without root"))


def test_events():
    walk.check(snippets.section(snippets.read("README.md"), "Events"))


def test_http():
    walk.check(snippets.section(snippets.read("README.md"), "HTTP"))


def test_demo_by_hand():
    walk.check(snippets.section(snippets.read("README.md"), "The demo by hand"), str(ROOT / "tests/kernel/vm"))


def test_a_snippet_that_prints_something_else_is_noticed():
    wrong = '```sh\necho \'{"a": 1, "b": 2}\'\n```\n```json\n{"a": 2}\n```\n'
    with pytest.raises(AssertionError, match="but prints"):
        walk.check(wrong)
    walk.check(wrong.replace('"a": 2', '"a": 1'))
