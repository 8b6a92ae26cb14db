#!/usr/bin/env python3
"""Compares the public API of the library crates with the committed listings in crates/*/api.txt.

scripts/check-api.py           print differences, exit with 1 if there are any
scripts/check-api.py --write   rewrite the listings

A listing has one line per public item: modules, types with fields and variants, functions with their signatures,
constants, macros, and implemented traits (derived ones included; of the auto traits Send and Sync). It is made from
rustdoc's JSON output, which is unstable: RUSTC_BOOTSTRAP enables it on the toolchain that rust-toolchain.toml pins.
The variable is set for rustdoc alone, because build scripts that read it would rebuild most dependencies.
"""

import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATES = ["closed-enum", "scion-packet", "snapgate", "snapgate-control", "snaptun", "udp-shards"]
AUTO_TRAITS = {"Send", "Sync"}
TARGET = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))


def rustdoc_json(crate):
    """Builds and loads the JSON documentation of a crate."""
    with tempfile.TemporaryDirectory() as directory:
        rustdoc = Path(directory, "rustdoc")
        rustdoc.write_text('#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc "$@"\n')
        rustdoc.chmod(0o755)
        command = ["cargo", "rustdoc", "--quiet", "--locked", "--lib", "-p", crate, "--target-dir", TARGET, "--"]
        options = ["-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"]
        subprocess.run(command + options, cwd=ROOT, env=os.environ | {"RUSTDOC": str(rustdoc)}, check=True)
    return json.loads(Path(TARGET, "doc", crate.replace("-", "_") + ".json").read_text())


def only(node):
    """The single key of a JSON object and its value; enum variants without data are plain strings."""
    return next(iter(node.items())) if isinstance(node, dict) else (node, None)


def type_text(node):
    kind, value = only(node)
    match kind:
        case "resolved_path":
            return path_text(value)
        case "generic" | "primitive":
            return value
        case "tuple":
            return "(" + ", ".join(map(type_text, value)) + ("," if len(value) == 1 else "") + ")"
        case "slice":
            return f"[{type_text(value)}]"
        case "array":
            return f"[{type_text(value['type'])}; {value['len']}]"
        case "borrowed_ref":
            lifetime = value["lifetime"] + " " if value["lifetime"] else ""
            return f"&{lifetime}{'mut ' * value['is_mutable']}{type_text(value['type'])}"
        case "raw_pointer":
            return f"*{'mut' if value['is_mutable'] else 'const'} {type_text(value['type'])}"
        case "impl_trait":
            return "impl " + bounds_text(value)
        case "dyn_trait":
            bounds = [path_text(bound["trait"]) for bound in value["traits"]]
            return "dyn " + " + ".join(bounds + [value["lifetime"]] * bool(value["lifetime"]))
        case "qualified_path":
            self_type = type_text(value["self_type"])
            trait = path_text(value["trait"]) if value["trait"] else ""
            owner = f"<{self_type} as {trait}>" if trait else self_type
            return f"{owner}::{value['name']}{args_text(value['args'])}"
        case "function_pointer":
            return "fn" + signature_text(value["sig"])
        case "infer":
            return "_"
    raise ValueError(f"unknown kind of type: {kind}")


def path_text(path):
    """The last segment of a path, however it was imported; two for names that modules share."""
    segments = path["path"].split("::")
    shown = segments[-2:] if segments[-1] in ("Error", "Result") else segments[-1:]
    return "::".join(shown) + args_text(path["args"])


def args_text(args):
    kind, value = only(args)
    if kind == "parenthesized":
        return f"({', '.join(map(type_text, value['inputs']))}){output_text(value['output'])}"
    if kind != "angle_bracketed":
        return ""
    texts = [argument_text(argument) for argument in value["args"]]
    for constraint in value["constraints"]:
        binding, term = only(constraint["binding"])
        text = " = " + argument_text(term["equality"] if binding == "equality" and "equality" in term else term)
        texts.append(constraint["name"] + (text if binding == "equality" else ": " + bounds_text(term)))
    return f"<{', '.join(texts)}>" if texts else ""


def argument_text(argument):
    kind, value = only(argument)
    return {"type": type_text, "lifetime": str, "const": lambda const: const["expr"]}[kind](value)


def bounds_text(bounds):
    return " + ".join(bound_text(*only(bound)) for bound in bounds)


def bound_text(kind, value):
    if kind == "trait_bound":
        return "?" * (value["modifier"] == "maybe") + path_text(value["trait"])
    return value if kind == "outlives" else f"use<{', '.join(value)}>"


def output_text(output):
    return f" -> {type_text(output)}" if output else ""


def signature_text(signature):
    inputs = []
    for name, node in signature["inputs"]:
        text = type_text(node)
        receiver = {"Self": "self", "&Self": "&self", "&mut Self": "&mut self"}.get(text) if name == "self" else None
        inputs.append(receiver or (f"{name}: {text}" if name else text))
    return f"({', '.join(inputs)}){output_text(signature['output'])}"


def generics_text(generics):
    """Parameters as `<..>`, and the where clause."""
    parameters = []
    for parameter in generics["params"]:
        kind, value = only(parameter["kind"])
        if kind == "type" and not value["is_synthetic"]:
            bounds = bounds_text(value["bounds"])
            default = f" = {type_text(value['default'])}" if value["default"] else ""
            parameters.append(parameter["name"] + (f": {bounds}" if bounds else "") + default)
        elif kind == "lifetime":
            parameters.append(": ".join([parameter["name"]] + [" + ".join(value["outlives"])] * bool(value["outlives"])))
        elif kind == "const":
            parameters.append(f"const {parameter['name']}: {type_text(value['type'])}")
    where = []
    for predicate in generics["where_predicates"]:
        kind, value = only(predicate)
        if kind == "bound_predicate":
            where.append(f"{type_text(value['type'])}: {bounds_text(value['bounds'])}")
        elif kind == "lifetime_predicate":
            where.append(f"{value['lifetime']}: {' + '.join(value['outlives'])}")
    return (f"<{', '.join(parameters)}>" if parameters else ""), (f" where {', '.join(where)}" if where else "")


class Listing:
    """The lines of one crate, ordered by path."""

    def __init__(self, document):
        self.index = document["index"]
        self.lines = []
        self.paths = {}
        root = self.index[str(document["root"])]
        # Breadth first: an item is listed at its shortest path.
        modules = [(root["name"], root)]
        for path, module in modules:
            for name, item in self.children(module):
                if "module" in item["inner"]:
                    self.lines.append(f"mod {path}::{name}")
                    modules.append((f"{path}::{name}", item))
                else:
                    self.add(f"{path}::{name}", item)
        item_path = re.compile(rf"\b{root['name']}::[\w:]+")
        self.lines.sort(key=lambda line: (item_path.findall(line)[:1], line))

    def children(self, module):
        """Public items of a module, with re-exports resolved."""
        for item_id in module["inner"]["module"]["items"]:
            item = self.index.get(str(item_id))
            if item is None:
                continue
            kind, value = only(item["inner"])
            if kind != "use":
                yield item["name"], item
                continue
            target = self.index.get(str(value["id"]))
            if target is None:
                self.lines.append(f"use {value['source']}")
            elif value["is_glob"]:
                yield from self.children(target)
            else:
                yield value["name"], target

    def add(self, path, item):
        if item["id"] in self.paths:
            self.lines.append(f"use {path} = {self.paths[item['id']]}")
            return
        self.paths[item["id"]] = path
        kind, value = only(item["inner"])
        generics, where = generics_text(value["generics"]) if isinstance(value, dict) and "generics" in value else ("", "")
        match kind:
            case "function":
                header = value["header"]
                words = [word for word in ("const", "unsafe", "async") if header[f"is_{word}"]]
                self.lines.append(" ".join([*words, "fn", f"{path}{generics}{signature_text(value['sig'])}{where}"]))
            case "struct" | "union" | "enum" | "trait":
                marks = "".join(f" #[{mark}]" for mark in ("non_exhaustive", "must_use") if has_attribute(item, mark))
                self.lines.append(f"{kind} {path}{generics}{where}{marks}")
                self.add_members(path, value)
                self.add_impls(path, value.get("impls", []))
            case "struct_field":
                self.lines.append(f"field {path}: {type_text(value)}")
            case "variant":
                self.lines.append(f"variant {path}")
                self.add_members(path, value)
            case "constant" | "assoc_const" | "static":
                self.lines.append(f"const {path}: {type_text(value['type'])}")
            case "type_alias" | "assoc_type":
                self.lines.append(f"type {path}{generics}" + (f" = {type_text(value['type'])}" if value["type"] else ""))
            case "macro" | "proc_macro":
                self.lines.append(f"macro {path}!")
            case _:
                raise ValueError(f"unknown kind of item: {kind} {path}")

    def add_members(self, path, value):
        """Fields, variants or trait items. Private fields are null or not in the index."""
        members = [*value.get("variants", []), *value.get("items", [])]
        shape, content = only(value.get("kind"))
        if shape in ("plain", "struct") and content:
            members += content["fields"]
        elif shape == "tuple":
            members += [field for field in content if field is not None]
        for member in members:
            if item := self.index.get(str(member)):
                self.add(f"{path}::{item['name']}", item)

    def add_impls(self, path, impls):
        for impl_id in impls:
            impl = self.index[str(impl_id)]["inner"]["impl"]
            generics, where = generics_text(impl["generics"])
            if impl["trait"] is None:
                context = f" in impl{generics}{where}" if ":" in generics + where else ""
                for item_id in impl["items"]:
                    if item := self.index.get(str(item_id)):
                        self.add(f"{path}::{item['name']}", item)
                        self.lines[-1] += context
            elif impl["blanket_impl"] is None:
                trait = path_text(impl["trait"])
                if trait in AUTO_TRAITS or not impl["is_synthetic"] and trait != "StructuralPartialEq":
                    negation = "!" * impl["is_negative"]
                    self.lines.append(f"impl{generics} {negation}{trait} for {path}{where}")


def has_attribute(item, name):
    return any(name in str(attribute) for attribute in item["attrs"])


def main():
    write = sys.argv[1:] == ["--write"]
    if sys.argv[1:] and not write:
        sys.exit(__doc__)
    changed = False
    for crate in CRATES:
        listing = "\n".join(Listing(rustdoc_json(crate)).lines) + "\n"
        file = ROOT / "crates" / crate / "api.txt"
        committed = file.read_text() if file.exists() else ""
        if write:
            file.write_text(listing)
        elif listing != committed:
            changed = True
            name = str(file.relative_to(ROOT))
            lines = [text.splitlines(keepends=True) for text in (committed, listing)]
            sys.stderr.writelines(difflib.unified_diff(*lines, name, "public API"))
    if changed:
        sys.exit("the public API differs from its listing; if that is intended: scripts/check-api.py --write")


main()
