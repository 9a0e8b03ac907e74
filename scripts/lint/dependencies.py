#!/usr/bin/env python3
"""Fails when a crate is named in a Cargo.toml and nowhere in the sources beside it.

A dependency costs build time, audits and updates. What a manifest has for another
reason is named there, with that reason, as for cargo-machete:

    [package.metadata.cargo-machete]
    ignored = ["name"]"""

import pathlib
import re
import subprocess
import sys
import tomllib


def files(pattern):
    listed = subprocess.run(["git", "ls-files", pattern], check=True, capture_output=True, text=True)
    return [path for path in map(pathlib.Path, listed.stdout.splitlines()) if path.exists()]


def unused(names, sources):
    text = "\n".join(source.read_text() for source in sources)
    for name in names:
        crate = name.replace("-", "_")
        if not re.search(rf"\b{crate}::|\b(use|extern crate) {crate}\b", text):
            yield name


def main():
    manifests = files("*Cargo.toml")
    folders = {manifest.parent for manifest in manifests}
    found = []
    for manifest in manifests:
        card = tomllib.loads(manifest.read_text())
        ignored = card["package"].get("metadata", {}).get("cargo-machete", {}).get("ignored", [])
        # A source belongs to the nearest manifest above it.
        sources = [
            source
            for source in files("*.rs")
            if max((folder for folder in folders if folder in source.parents), key=lambda at: len(at.parts))
            == manifest.parent
        ]
        code = [source for source in sources if (manifest.parent / "tests") not in source.parents]
        # Test programs share files, whichever package they belong to.
        tests = {*sources, *files("tests/*.rs")}
        names = [*unused(card.get("dependencies", {}), code), *unused(card.get("dev-dependencies", {}), tests)]
        found += [f"{manifest}: nothing uses {name}" for name in names if name not in ignored]
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
