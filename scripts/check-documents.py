#!/usr/bin/env python3
"""Checks that links in documents, and the tests, fuzz targets and files that documents cite, exist."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Cites names of earlier versions.
HISTORY = "CHANGELOG.md"
problems = []


def tracked(*patterns):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in output.split("\0") if name and (ROOT / name).exists()]


def anchors(path):
    """Returns the anchors that GitHub generates for headings."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", heading).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


sources = "\n".join(path.read_text(encoding="utf-8") for path in tracked("*.rs"))
words = set(re.findall(r"\w+", sources))

for document in tracked("*.md"):
    name = document.relative_to(ROOT)
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (document.parent / target).resolve() if target else document
        if not file.exists():
            problems.append(f"{name}: {link}: file not found")
        elif anchor and anchor not in anchors(file):
            problems.append(f"{name}: {link}: heading not found")
    if document.name != HISTORY:
        # Long names are tests, or settings and fields in the sources. Names of metrics are assembled at run time.
        for cited in re.findall(r"`((?:[a-z0-9]+_){3,}[a-z0-9]+)`", text):
            if cited not in words and not cited.startswith("snapgate_"):
                problems.append(f"{name}: test {cited} not found")

    # Modules of tests, fuzz targets and files.
    for cited in re.findall(r"tests of ((?:`[\w:]+`(?:, | and )?)+)", text):
        for module in re.findall(r"(\w+)`", cited):
            if module not in words:
                problems.append(f"{name}: module {module} not found")
    for cited in re.findall(r"fuzz targets? ((?:`\w+`(?: and )?)+)", text):
        for target in re.findall(r"`(\w+)`", cited):
            if not (ROOT / f"crates/fuzz/fuzz_targets/{target}.rs").exists():
                problems.append(f"{name}: fuzz target {target} not found")
    for cited in re.findall(r"`(?:crates/)?([a-z-]+/(?:src|tests)/[\w/.-]+)`", text):
        if not any((ROOT / parent / cited).exists() for parent in ("crates", ".")):
            problems.append(f"{name}: file {cited} not found")

# The host fault matrix: each row names tests, and its signs exist.
MATRIX = ROOT / "docs/HOST-FAULTS.md"
FOREIGN_SIGNS = {"Too many open files", "Resource temporarily unavailable", "memory allocation of", "failed"}
tests = set(re.findall(r"#\[(?:tokio::)?test[^\]]*\]\s+(?:#\[[^\]]*\]\s+)*(?:async )?fn (\w+)", sources))
# Messages can continue on the next line.
joined_sources = re.sub(r"\\\n\s*", "", sources)
metrics = (ROOT / "docs/METRICS.md").read_text(encoding="utf-8")
for row in re.findall(r"^\| (.*) \|$", MATRIX.read_text(encoding="utf-8"), re.M):
    cells = row.split(" | ")
    if len(cells) != 5 or cells[0] in ("fault", "---"):
        continue
    cited_tests = re.findall(r"`([^`]+)`", cells[4])
    if not cited_tests:
        problems.append(f"{MATRIX.name}: {cells[0]}: no test")
    for test in cited_tests:
        if test not in tests:
            problems.append(f"{MATRIX.name}: {cells[0]}: test {test} not found")
    for sign in re.findall(r"`([^`]+)`", cells[3]):
        drop = re.fullmatch(r"(\w+)/(\w+)", sign)
        if drop:
            known = "| `{}` | `{}` |".format(*drop.groups()) in metrics
        elif sign.startswith("snapgate_"):
            known = f"`{sign.partition('{')[0]}`" in metrics
        else:
            # A command, an error message with the name of a worker, a message of the kernel or of Rust, or one of ours.
            known = sign in FOREIGN_SIGNS or re.match(r"(ip|nstat|tc|tcpdump|error:) ", sign) or sign in joined_sources
        if not known:
            problems.append(f"{MATRIX.name}: {cells[0]}: sign {sign} not found")

# Documents cited in sources.
for path in tracked("*.rs", "*.toml", "*.sh", "*.py"):
    for cited in re.findall(r"\bdocs/[A-Z-]+\.md\b", path.read_text(encoding="utf-8")):
        if not (ROOT / cited).exists():
            problems.append(f"{path.relative_to(ROOT)}: {cited} not found")

for problem in problems:
    print(problem, file=sys.stderr)
sys.exit(bool(problems))
