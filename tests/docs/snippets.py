# SPDX-License-Identifier: Apache-2.0
"""What the tests read out of Markdown: sections, fenced blocks, and the JSON that stands in them."""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def section(text, title):
    """From a heading to the next of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found, f"there is no section {title!r}"
    level = len(found.group(1))
    rest = text[found.end():]
    end = re.search(rf"^#{{1,{level}}} ", without_fences(rest), re.MULTILINE)
    return rest[:end.start()] if end else rest


def without_section(text, title):
    return text.replace(section(text, title), "")


def without_fences(text):
    """The same length, with blanks in place of fenced blocks."""
    return FENCE.sub(lambda found: re.sub(r"[^\n]", " ", found.group(0)), text)


def fences(text):
    """(language, content) of each fenced block."""
    return [(found.group(1), found.group(2)) for found in FENCE.finditer(text)]


def json_texts(text):
    """All JSON texts in a string, one after another."""
    decoder = json.JSONDecoder()
    values, at = [], 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = decoder.raw_decode(text, at)
        values.append(value)
    return values


def shows(shown, got):
    """Whether `got` is what is shown; an object that is shown may leave members out."""
    if isinstance(shown, dict) and isinstance(got, dict):
        return all(key in got and shows(value, got[key]) for key, value in shown.items())
    if isinstance(shown, list) and isinstance(got, list):
        return len(shown) == len(got) and all(map(shows, shown, got))
    return shown == got
