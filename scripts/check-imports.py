#!/usr/bin/env python3
"""Rejects import cycles between the source files of the released crates.

A file imports another file if one of its paths names an item that the other file declares. Rules:

- Paths in `use` declarations and inline paths count, absolute (`crate::`, `self::`, `super::`) or relative to a module
  in scope (`child::item`, `imported_module::item`). Each import is reported with the line of its first occurrence.
- A path imports the file that declares the item, not the modules in the path: those are namespaces.
- `mod x;` declares a namespace and imports nothing.
- A re-export (`pub use`, with any visibility) is followed to the declaration. It is an import only if its file also
  uses the name elsewhere.
- A name declared by a macro counts as declared by the file of its module.
- Comments, strings and code under `#[cfg(test)]` do not count. Other `cfg` attributes are ignored.
- Method calls and trait implementations contain no path to their type, so a file with `impl Type` depends on the file
  of `Type`, and not the reverse.
"""

import re
import sys
from collections import deque
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATES = ["scion-packet", "snapgate", "snapgate-control", "snapload", "snaptun", "udp-shards"]

NOT_CODE = re.compile(
    r"""
    (?P<line>//[^\n]*)
    | (?P<block>/\*)
    | b?r(?P<hashes>\#*)"(?s:.*?)"(?P=hashes)
    | b?"(?s:\\.|[^"\\])*"
    | b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\\n])'
    """,
    re.VERBOSE,
)
TOKEN = re.compile(r"\w+|::|=>|->|\S")
DECLARING = {"fn", "struct", "enum", "union", "trait", "type", "const", "static", "macro_rules"}
MODIFIERS = {"async", "unsafe", "extern", "default", "auto"}
OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}


def strip(text):
    """Replaces comments, strings and characters by blanks, and keeps line breaks."""
    out, at = [], 0
    while found := NOT_CODE.search(text, at):
        start, end = found.span()
        # In `number"`, r is not the prefix of a string.
        if start and text[start] in "rb" and (text[start - 1].isalnum() or text[start - 1] == "_"):
            start += 1
            out.append(text[at:start])
            at = start
            continue
        if found["block"]:
            depth, end = 1, start + 2
            while depth and (mark := re.compile(r"/\*|\*/").search(text, end)):
                depth += 1 if mark[0] == "/*" else -1
                end = mark.end()
        out.append(text[at:start])
        out.append(" " + "\n" * text.count("\n", start, end))
        at = end
    out.append(text[at:])
    return "".join(out)


def tokens(path):
    """Returns pairs of token and line."""
    result = []
    for number, line in enumerate(strip(path.read_text()).split("\n"), 1):
        result += [(token, number) for token in TOKEN.findall(line)]
    return result


class Module:
    """Declarations, imports and paths of a module."""

    def __init__(self, file, parent):
        self.file = file
        self.parent = parent
        self.children = {}
        self.declared = set()
        self.aliases = {}  # name -> path
        self.globs = []  # paths
        self.imports = []  # (path, line): `use` declarations except re-exports
        self.reexports = []  # (name, path, line)
        self.paths = []  # (path, line): inline
        self.words = set()  # identifiers outside of `use` declarations

    def root(self):
        return self.parent.root() if self.parent else self


class Parser:
    def __init__(self, file, module, directory, files):
        self.tokens = tokens(file)
        self.at = 0
        self.file = file
        self.files = files
        self.body(module, directory)

    def peek(self, ahead=0):
        at = self.at + ahead
        return self.tokens[at][0] if at < len(self.tokens) else None

    def skip_group(self):
        """Skips the group that begins at the current token, up to its closing bracket."""
        depth = 0
        while self.at < len(self.tokens):
            token = self.peek()
            depth += (token in OPENING) - (token in CLOSING)
            self.at += 1
            if depth == 0:
                return

    def attributes(self):
        """Skips attributes; returns true if one of them requires `cfg(test)`."""
        for_tests = False
        while self.peek() == "#":
            start = self.at
            self.at += 2 if self.peek(1) == "!" else 1
            self.skip_group()
            attribute = [token for token, _ in self.tokens[start : self.at]]
            is_cfg = attribute[2:4] == ["cfg", "("]
            for_tests |= is_cfg and "test" in attribute and not {"not", "any"} & set(attribute)
            if "path" in attribute[2:3]:
                sys.exit(f"{self.file}: #[path] attributes are not supported")
        return for_tests

    def end_of_item(self, ends_with_semicolon):
        """Skips the rest of an item."""
        while self.at < len(self.tokens):
            token = self.peek()
            if token == ";":
                self.at += 1
                return
            if token == "}":
                return
            if token in OPENING:
                self.skip_group()
                if token == "{" and not ends_with_semicolon:
                    return
            else:
                self.at += 1

    def body(self, module, directory):
        """Parses the items of a module, up to the end of the file or its closing bracket."""
        while self.at < len(self.tokens) and self.peek() != "}":
            first = self.at
            for_tests = self.attributes()
            if not for_tests:
                self.code(module, first)
            start = self.at
            public = self.peek() == "pub"
            if public:
                self.at += 1
                if self.peek() == "(":
                    self.skip_group()
            # Modifiers of functions and traits. The string of `extern "C"` was removed.
            while self.peek() in MODIFIERS or self.peek() == "const" and self.peek(1) in {"fn", "unsafe", "extern"}:
                self.at += 1
            keyword = self.peek()
            if keyword == "mod":
                self.module(module, directory, for_tests)
            elif keyword == "use":
                self.end_of_item(True)
                if not for_tests:
                    self.use(module, start, public)
            elif keyword is not None:
                # Constants end with a semicolon, even if their value contains a block.
                self.end_of_item(keyword in {"const", "static", "type"})
                if not for_tests:
                    self.code(module, start)
            if self.at == start:
                self.at += 1

    def module(self, module, directory, for_tests):
        name = self.peek(1)
        is_inline = self.peek(2) == "{"
        child = Module(self.file, module)
        self.at += 3
        if is_inline:
            self.body(child, directory / name)
            self.at += 1
        else:
            candidates = [directory / f"{name}.rs", directory / name / "mod.rs"]
            found = [path for path in candidates if path.exists()]
            if len(found) != 1:
                sys.exit(f"{self.file}: no file for `mod {name};`")
            child.file = found[0]
            self.files.add(found[0])
            Parser(found[0], child, directory / name, self.files)
        if not for_tests:
            module.children[name] = child

    def use(self, module, start, public):
        for path, name, line in use_tree([t for t in self.tokens[start : self.at] if t[0] != ";"]):
            if name == "*":
                module.globs.append(path)
            elif name != "_":
                module.aliases[name] = path
            if public:
                module.reexports.append((name, path, line))
            else:
                module.imports.append((path, line))

    def code(self, module, start):
        """Records declarations, `use` declarations and paths from `start` to the current token."""
        span = self.tokens[start : self.at]
        at = 0
        is_macro = len(span) > 1 and span[0][0] != "#" and span[1][0] == "!"
        depth = 0
        while at < len(span):
            token, line = span[at]
            depth += (token in OPENING) - (token in CLOSING)
            if token == "use" and at:
                end = next(i for i in range(at, len(span)) if span[i][0] == ";")
                for path, name, use_line in use_tree(span[at:end]):
                    if name == "*":
                        module.globs.append(path)
                    else:
                        module.aliases.setdefault(name, path)
                    module.imports.append((path, use_line))
                at = end
                continue
            if not re.match(r"\w", token):
                at += 1
                continue
            follows = span[at - 1][0] if at else ""
            if follows in DECLARING or follows == "!" and at > 1 and span[at - 2][0] == "macro_rules":
                if depth == 0 or is_macro:
                    module.declared.add(token)
                at += 1
                continue
            path = [token]
            while at + 2 < len(span) and span[at + 1][0] == "::" and re.match(r"\w", span[at + 2][0]):
                at += 2
                path.append(span[at][0])
            at += 1
            module.words.update(path[:1] if follows == "::" else path)
            if follows not in {".", "::"} and len(path) > 1:
                module.paths.append((path, line))


def use_tree(span):
    """Returns triples of path, name and line for the tokens of a `use` declaration."""
    start = next(i for i, (token, _) in enumerate(span) if token == "use") + 1
    result = []
    stack, path, name = [], [], None

    def finish(line):
        nonlocal path, name
        if path:
            ends_in_self = path[-1] == "self" and len(path) > 1
            whole = path[:-1] if ends_in_self or path[-1] == "*" else path
            result.append((whole, name or ("*" if path[-1] == "*" else whole[-1]), line))
        path, name = list(stack[-1]) if stack else [], None

    at, complete = start, False
    while at < len(span):
        token, line = span[at]
        if token == "{":
            stack.append(path)
            path = list(path)
            complete = False
        elif token in {",", "}"}:
            if complete:
                finish(line_of_path)
            if token == "}":
                stack.pop()
            path = list(stack[-1]) if stack else []
            complete = False
        elif token == "as":
            at += 1
            name = span[at][0]
        elif token != "::":
            path.append(token)
            line_of_path = line
            complete = True
        elif token == "::" and not path:
            path.append("::")
        at += 1
    if complete:
        finish(line_of_path)
    return result


EXTERNAL = None


def resolve(module, path, seen=frozenset()):
    """Returns the module or the declaring file that a path names, or EXTERNAL."""
    if (module, tuple(path)) in seen:
        return EXTERNAL
    seen = seen | {(module, tuple(path))}
    first, rest = path[0], path[1:]
    if first == "crate":
        here = module.root()
    elif first == "self":
        here = module
    elif first == "super":
        here = module.parent
        while rest and rest[0] == "super":
            here, rest = here.parent, rest[1:]
    else:
        here = lookup(module, first, seen, last=not rest)
    for index, name in enumerate(rest):
        if not isinstance(here, Module):
            return here
        found = lookup(here, name, seen, last=index == len(rest) - 1)
        # An unknown name is declared by a macro, unless it is imported from another crate.
        here = here.file if found is EXTERNAL and name not in here.aliases else found
    return here


def lookup(module, name, seen, last):
    """Returns the meaning of a name in a module. In the last position of a path, items precede modules."""
    item = EXTERNAL
    if name in module.declared:
        item = module.file
    elif name in module.aliases:
        item = resolve(module, module.aliases[name], seen)
    if item is not EXTERNAL and (last or name not in module.children):
        return item
    if name in module.children:
        return module.children[name]
    for glob in module.globs:
        target = resolve(module, glob, seen)
        if isinstance(target, Module) and target is not module:
            found = lookup(target, name, seen, last)
            if found is not EXTERNAL:
                return found
    return EXTERNAL


def modules(module):
    yield module
    for child in module.children.values():
        yield from modules(child)


def imports_of(root):
    """Returns a map from (file, imported file) to the line and path of the first import."""
    edges = {}

    def note(module, path, line, target):
        if isinstance(target, Path) and target != module.file:
            shown = edges.setdefault((module.file, target), (line, "::".join(path)))
            if line < shown[0]:
                edges[(module.file, target)] = (line, "::".join(path))

    for module in modules(root):
        for path, line in module.imports + module.paths:
            note(module, path, line, resolve(module, path))
        for name, path, line in module.reexports:
            if name in module.words:
                note(module, path, line, resolve(module, path))
        for glob in module.globs:
            target = resolve(module, glob)
            if isinstance(target, Module):
                for word in module.words:
                    note(module, [*glob, word], 1, lookup(target, word, frozenset(), last=True))
    return edges


def cycles(files, edges):
    """Returns a shortest cycle for each file in a cycle, without duplicates."""
    following = {file: sorted(b for a, b in edges if a == file and b in files) for file in files}
    found = {}
    for start in sorted(files):
        before, queue = {}, deque([start])
        while queue and start not in before:
            file = queue.popleft()
            for target in following[file]:
                if target not in before:
                    before[target] = file
                    queue.append(target)
        if start in before:
            cycle, file = [start], before[start]
            while file != start:
                cycle.append(file)
                file = before[file]
            found.setdefault(frozenset(cycle), cycle[:1] + cycle[:0:-1])
    return list(found.values())


def describe(cycle, edges):
    lines = [f"import cycle of {len(cycle)} files:"]
    for file, target in zip(cycle, cycle[1:] + cycle[:1]):
        line, path = edges[file, target]
        lines.append(f"  {file.relative_to(ROOT)}:{line} imports {path} of {target.relative_to(ROOT)}")
    return "\n".join(lines)


def main():
    problems, edges, files = [], {}, set()
    for crate in CRATES:
        source = ROOT / "crates" / crate / "src"
        roots = [source / "lib.rs", source / "main.rs", *source.glob("bin/*.rs"), *source.glob("bin/*/main.rs")]
        reached = {path for path in roots if path.exists()}
        for path in sorted(reached):
            root = Module(path, None)
            Parser(path, root, path.parent, reached)
            edges |= imports_of(root)
        # Files that the parser missed would not be checked.
        for path in sorted(set(source.rglob("*.rs")) - reached):
            problems.append(f"{path.relative_to(ROOT)} does not belong to a module")
        files |= reached

    problems += [describe(cycle, edges) for cycle in cycles(files, edges)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return bool(problems)


sys.exit(main())
