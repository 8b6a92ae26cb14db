#!/usr/bin/env python3
"""Compares the workspaces of the repository with the one at the root.

A workspace cannot inherit from another one, so versions, lints and profiles are written more than once. This
fails when a copy differs from the root, or when the mock clock of ana-gotatun can be built into a gateway.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Those that may have the mock clock.
MOCK_CLOCK = ("crates/fuzz", "crates/mock-clock")
OTHERS = (*MOCK_CLOCK, "crates/interop", "benches")
problems = []


def load(path):
    with open(ROOT / path, "rb") as file:
        return tomllib.load(file)


def equal(where, what, copy, original):
    if copy != original:
        problems.append(f"{where}: {what} is {copy!r}, and {original!r} at the root")


def requirement(dependency):
    """The version that a dependency asks for, if it names one."""
    return dependency if isinstance(dependency, str) else dependency.get("version")


def package(name, dependency):
    return name if isinstance(dependency, str) else dependency.get("package", name)


def compare_versions(where, dependencies, root):
    """Same package and same API: the same requirement."""
    originals = {(package(name, d), name): requirement(d) for name, d in root["workspace"]["dependencies"].items()}
    for name, dependency in dependencies.items():
        original = originals.get((package(name, dependency), name))
        if original and requirement(dependency):
            equal(where, f"version of {name}", requirement(dependency), original)


def compare_profiles(where, profiles, root):
    """Cargo builds a dependency again for each way in which it is optimised."""
    for name, profile in profiles.items():
        original = root["profile"].get(name, {})
        for key, value in profile.items():
            if key != "package":
                equal(where, f"profile.{name}.{key}", value, original.get(key))
        for package_name, settings in profile.get("package", {}).items():
            # A package of that workspace alone may have settings of its own.
            expected = original.get("package", {}).get(package_name, settings)
            equal(where, f"profile.{name}.package.{package_name}", settings, expected)


def compatibility(version):
    """The part of a version that cargo regards as one API: 1, 0.9, or 0.0.3."""
    parts = version.split("+")[0].split(".")
    for length, part in enumerate(parts, 1):
        if part != "0":
            return ".".join(parts[:length])
    return version


def locked(path):
    """The versions of each package from a registry, by API."""
    versions = {}
    for entry in load(path)["package"]:
        if "source" in entry:
            versions.setdefault((entry["name"], compatibility(entry["version"])), set()).add(entry["version"])
    return versions


def compare_locks(path, root):
    for (name, api), versions in sorted(locked(path).items()):
        if (name, api) in root and versions != root[name, api]:
            wanted = "".join(root[name, api])
            problems.append(
                f"{path}: {name} is {''.join(versions)}, and {wanted} at the root; "
                f"cargo update --manifest-path {path.replace('.lock', '.toml')} {name}@{''.join(versions)} --precise {wanted}"
            )


def compare_manifests(where, manifest, root):
    """A workspace with one package has its fields and lints there, one with several in `workspace`."""
    shared = manifest["workspace"]
    fields = shared.get("package") or manifest["package"]
    for key, value in root["workspace"]["package"].items():
        equal(where, f"package.{key}", fields.get(key), value)
    # cargo-fuzz builds a program that is all tests.
    if where != "crates/fuzz":
        equal(where, "lints", shared.get("lints") or manifest.get("lints"), root["workspace"]["lints"])
    if "members" in shared:
        equal(where, "workspace.resolver", shared.get("resolver"), root["workspace"]["resolver"])
    for dependencies in (shared.get("dependencies"), manifest.get("dependencies"), manifest.get("dev-dependencies")):
        compare_versions(where, dependencies or {}, root)
    compare_profiles(where, manifest.get("profile", {}), root)


def refuse_mock_clock(where, lock):
    """A lock file holds what any member may need with all of its features, tests included. So without `mock_instant`
    in it, no cargo command in this workspace can build `ana-gotatun` on a clock that stands still."""
    if any(name == "mock_instant" for name, _ in lock):
        problems.append(
            f"{where}Cargo.lock: a package needs mock_instant, which stops the clock of every gateway that is built "
            "with it; move it to crates/mock-clock (cargo tree --workspace --invert mock_instant names it)"
        )


root = load("Cargo.toml")
root_lock = locked("Cargo.lock")
refuse_mock_clock("", root_lock)
for where in OTHERS:
    compare_manifests(where, load(f"{where}/Cargo.toml"), root)
    compare_locks(f"{where}/Cargo.lock", root_lock)
    if where not in MOCK_CLOCK:
        refuse_mock_clock(f"{where}/", locked(f"{where}/Cargo.lock"))

for problem in problems:
    print(problem, file=sys.stderr)
sys.exit(bool(problems))
