# SPDX-License-Identifier: Apache-2.0
"""The YAML source as plain values that remember where they stand.

Knows YAML and `$ref`, nothing of what the document means.
"""

import yaml


class DocumentError(Exception):
    """The source cannot be read at all."""


class Document:
    """`root` is the document; paths into it are tuples of keys and indexes."""

    def __init__(self, text, file_name):
        self.file_name = file_name
        self.lines = {}
        try:
            node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise DocumentError(f"{file_name}: {error}") from error
        if not isinstance(node, yaml.MappingNode):
            raise DocumentError(f"{file_name}: the document is not a mapping")
        self._scalars = yaml.SafeLoader("")
        self.root = self._build(node, ())

    def _build(self, node, path):
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalars.construct_object(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, path + (i,)) for i, item in enumerate(node.value)]
        result = {}
        for key_node, value_node in node.value:
            key = self._scalars.construct_object(key_node)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise DocumentError(f"{self.file_name}:{line}: the key {key!r} is not a string")
            if key in result:
                raise DocumentError(f"{self.file_name}:{line}: the key {key!r} stands twice")
            self.lines[path + (key,)] = line
            result[key] = self._build(value_node, path + (key,))
        return result

    def get(self, path):
        """The value at a path, or None."""
        value = self.root
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def place(self, path):
        """`file:line: methods[device_create].params[name]`, for messages."""
        known = tuple(path)
        while known not in self.lines:
            known = known[:-1]
        words = ""
        value = self.root
        for key in path:
            if isinstance(key, int):
                item = value[key] if isinstance(value, list) and key < len(value) else None
                name = item.get("name", key) if isinstance(item, dict) else key
                words += f"[{name}]"
            else:
                words += f".{key}" if words else key
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                value = None
        return f"{self.file_name}:{self.lines[known]}: {words}" if words else f"{self.file_name}:1"

    @staticmethod
    def target(ref):
        """The path that a `$ref` names, or None where it is no reference into this document."""
        if not isinstance(ref, str) or not ref.startswith("#/"):
            return None
        return tuple(part.replace("~1", "/").replace("~0", "~") for part in ref[2:].split("/"))

    def follow(self, value, path=()):
        """Follows `$ref`s; returns the value and the path that it stands at."""
        seen = 0
        while isinstance(value, dict) and "$ref" in value and seen < 8:
            path = self.target(value["$ref"])
            value = self.get(path) if path else None
            seen += 1
        return value, path
