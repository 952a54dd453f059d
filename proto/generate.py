#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes everything that follows from dmrpc.openrpc.yaml.

    generate.py              lint, then write proto/dmrpc.openrpc.json, docs/METHODS.md and
                             proto/dmrpcd.config.schema.json
    generate.py --check      lint, then fail if one of them is not what it would be
    generate.py --c DIR      lint, then write DIR/schema.h and DIR/schema.c

The form of the configuration file comes from dmrpcd.config.yaml, by dmrpcgen/config.py. The same source always makes the same bytes. The lint is in dmrpcgen/lint.py.
"""

import argparse
import json
import sys
import textwrap
from pathlib import Path

import jinja2

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

from dmrpcgen import cmodel, config, lint, manual  # noqa: E402
from dmrpcgen.document import Document, DocumentError  # noqa: E402


def c_escape(char):
    """One ASCII character inside a C string literal (`?` could make a trigraph)."""
    return "\\" + char if char in '"\\?' else char


def c_string(text):
    return '"' + "".join(c_escape(char) for char in text) + '"'


def c_lines(text, width=96):
    """A long ASCII text as the insides of string literals, one for each line."""
    lines, line = [], ""
    for char in map(c_escape, text):
        if len(line) + len(char) > width:
            lines.append(line)
            line = ""
        line += char
    return lines + [line]


def c_comment(text):
    """A block comment of at most 100 columns."""
    text = " ".join(text.split())
    if len(text) <= 92:
        return f"/* {text} */"
    lines = textwrap.wrap(text, 94, break_on_hyphens=False)
    return "/*\n" + "".join(f" * {line}\n" for line in lines) + " */"


def environment():
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)
    env.globals.update(comment=c_comment, c_string=c_string, c_lines=c_lines, number=cmodel.number)
    return env


def make_json(document):
    """The published document: the YAML, unchanged in meaning."""
    return json.dumps(document.root, indent=2, ensure_ascii=False) + "\n"


def make_c(document, configuration):
    """schema.h and schema.c by file name."""
    minified = json.dumps(document.root, separators=(",", ":"), ensure_ascii=True)
    values = {
        "model": cmodel.Model(document, configuration),
        "source": document.file_name,
        "document_lines": c_lines(minified),
    }
    env = environment()
    return {name: env.get_template(name + ".j2").render(values) for name in ("schema.h", "schema.c")}


def make_manual(document):
    return environment().get_template("METHODS.md.j2").render(manual.Manual(document).values())


def stale_files(committed):
    """Names of the committed files that are missing or differ."""
    return [path for path, text in committed.items()
            if not path.is_file() or path.read_text(encoding="utf-8") != text]


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=HERE / "dmrpc.openrpc.yaml",
                        help="the YAML to read")
    parser.add_argument("--config", type=Path, default=HERE / "dmrpcd.config.yaml",
                        help="the YAML of the configuration file")
    parser.add_argument("--root", type=Path, default=HERE.parent,
                        help="the folder that has proto/ and docs/, for the committed files")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--c", type=Path, metavar="DIR", help="write schema.h and schema.c there, nothing else")
    group.add_argument("--check", action="store_true", help="write nothing; fail if a committed file is stale")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    try:
        document = Document(options.source.read_text(encoding="utf-8"), options.source.name)
    except (OSError, UnicodeDecodeError, DocumentError) as error:
        print(error, file=sys.stderr)
        return 1
    problems = lint.lint(document)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    try:
        configuration = config.Config(options.config.read_text(encoding="utf-8"), options.config.name, document)
    except (OSError, UnicodeDecodeError, DocumentError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.c:
        options.c.mkdir(parents=True, exist_ok=True)
        for name, text in make_c(document, configuration).items():
            (options.c / name).write_text(text, encoding="utf-8")
        return 0
    committed = {
        options.root / "proto" / "dmrpc.openrpc.json": make_json(document),
        options.root / "docs" / "METHODS.md": make_manual(document),
        options.root / "proto" / "dmrpcd.config.schema.json": configuration.make_json(),
    }
    if options.check:
        stale = stale_files(committed)
        for path in stale:
            print(f"{path.relative_to(options.root)} is stale: run proto/generate.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale_files(committed):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(committed[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
