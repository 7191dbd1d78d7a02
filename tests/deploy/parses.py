"""Prints where the files for deployment are no Bicep and no YAML. Syntax only: the compiler of Bicep knows the resources too."""

import pathlib
import sys

import tree_sitter
import tree_sitter_bicep
import yaml


def wrong_in_bicep(source):
    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language())).parse(source)
    left = [tree.root_node]
    while left:
        node = left.pop()
        if node.type == "ERROR" or node.is_missing:
            yield f"{node.start_point[0] + 1}: {source[node.start_byte : node.end_byte][:60]!r}"
        left.extend(node.children)


def wrong_in_yaml(source):
    try:
        if not isinstance(yaml.safe_load(source), dict):
            yield "1: no mapping"
    except yaml.YAMLError as error:
        yield f"{error}"


KINDS = {".bicep": wrong_in_bicep, ".yml": wrong_in_yaml}

wrong = [
    f"{path}:{line}"
    for path in map(pathlib.Path, sys.argv[1:])
    for line in KINDS[path.suffix](path.read_bytes())
]
print("\n".join(wrong))
sys.exit(bool(wrong))
