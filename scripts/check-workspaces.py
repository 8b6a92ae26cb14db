#!/usr/bin/env python3
"""Compares the workspaces of the repository with the root workspace.

A workspace cannot inherit from another one, so versions, lints and profiles are copied. This fails if a copy differs
from the root, if the mock clock of ana-gotatun can be built into a gateway, or if the gateway that the tests of the
root workspace start has other features of tokio than the released one.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Workspaces that may have the mock clock.
MOCK_CLOCK = ("crates/fuzz", "crates/mock-clock")
OTHERS = (*MOCK_CLOCK, "crates/interop", "crates/e2e", "benches")
problems = []


def load(path):
    with open(ROOT / path, "rb") as file:
        return tomllib.load(file)


def equal(where, what, copy, original):
    if copy != original:
        problems.append(f"{where}: {what} is {copy!r}, but {original!r} in the root workspace")


def requirement(dependency):
    """Returns the required version of a dependency, if any."""
    return dependency if isinstance(dependency, str) else dependency.get("version")


def package(name, dependency):
    return name if isinstance(dependency, str) else dependency.get("package", name)


def compare_versions(where, dependencies, root):
    """Requires the same version for dependencies with the same package and the same name."""
    originals = {(package(name, d), name): requirement(d) for name, d in root["workspace"]["dependencies"].items()}
    for name, dependency in dependencies.items():
        original = originals.get((package(name, dependency), name))
        if original and requirement(dependency):
            equal(where, f"version of {name}", requirement(dependency), original)


def compare_profiles(where, profiles, root):
    """Requires the same profiles: cargo rebuilds a dependency for each profile."""
    for name, profile in profiles.items():
        original = root["profile"].get(name, {})
        for key, value in profile.items():
            if key != "package":
                equal(where, f"profile.{name}.{key}", value, original.get(key))
        for package_name, settings in profile.get("package", {}).items():
            # Settings of packages that the root does not mention may differ.
            expected = original.get("package", {}).get(package_name, settings)
            equal(where, f"profile.{name}.package.{package_name}", settings, expected)


def compatibility(version):
    """Returns the prefix of compatible versions for cargo: 1, 0.9, or 0.0.3."""
    parts = version.split("+")[0].split(".")
    for length, part in enumerate(parts, 1):
        if part != "0":
            return ".".join(parts[:length])
    return version


def locked(path):
    """Returns the locked versions of packages from registries, by name and compatible prefix."""
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
                f"{path}: {name} is {''.join(versions)}, but {wanted} in the root workspace; "
                f"run cargo update --manifest-path {path.replace('.lock', '.toml')} {name}@{''.join(versions)} --precise {wanted}"
            )


def compare_manifests(where, manifest, root):
    """Compares fields, lints, versions and profiles. A workspace with one package has fields and lints there."""
    shared = manifest["workspace"]
    fields = shared.get("package") or manifest["package"]
    for key, value in root["workspace"]["package"].items():
        equal(where, f"package.{key}", fields.get(key), value)
    # Fuzz targets are tests, for which the lints do not apply.
    if where != "crates/fuzz":
        equal(where, "lints", shared.get("lints") or manifest.get("lints"), root["workspace"]["lints"])
    if "members" in shared:
        equal(where, "workspace.resolver", shared.get("resolver"), root["workspace"]["resolver"])
    for dependencies in (shared.get("dependencies"), manifest.get("dependencies"), manifest.get("dev-dependencies")):
        compare_versions(where, dependencies or {}, root)
    compare_profiles(where, manifest.get("profile", {}), root)


def refuse_mock_clock(where, lock):
    """A lock file contains the dependencies of all members with all features, including tests. If it does not contain
    `mock_instant`, no cargo command in the workspace can build `ana-gotatun` with the mock clock."""
    if any(name == "mock_instant" for name, _ in lock):
        problems.append(
            f"{where}Cargo.lock: a package depends on mock_instant, which stops the clock of every gateway built with "
            "it; move the package to crates/mock-clock (to find it: cargo tree --workspace --invert mock_instant)"
        )


def tokio_features(*packages):
    """Returns the features of tokio in a build of these packages."""
    command = ["cargo", "tree", "--locked", *packages, "--invert", "tokio", "--depth", "0", "--format", "{f}"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def compare_tokio():
    """Cargo unites the features that all packages of a build ask for. With some of them a runtime behaves differently:
    with `signal` it panics, instead of failing, when no file can be opened."""
    tested = tokio_features("--workspace", "--edges", "all")
    released = tokio_features("--package", "snapgate", "--edges", "normal")
    if tested != released:
        problems.append(
            f"Cargo.toml: tests of the root workspace run a gateway whose tokio has the features {tested}, the released "
            f"one has {released}; move the package that causes it to crates/interop (to find it: cargo tree "
            "--workspace --edges all,features --invert tokio)"
        )


root = load("Cargo.toml")
root_lock = locked("Cargo.lock")
refuse_mock_clock("", root_lock)
for where in OTHERS:
    compare_manifests(where, load(f"{where}/Cargo.toml"), root)
    compare_locks(f"{where}/Cargo.lock", root_lock)
    if where not in MOCK_CLOCK:
        refuse_mock_clock(f"{where}/", locked(f"{where}/Cargo.lock"))

compare_tokio()

for problem in problems:
    print(problem, file=sys.stderr)
sys.exit(bool(problems))
