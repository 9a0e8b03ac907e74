#!/usr/bin/env python3
"""Prints what a package is made of, as a software bill of materials in CycloneDX 1.5:
every crate that is linked in, with its version, licence and checksum.

    scripts/package/sbom.py NAME [FEATURE...]

NAME is the package (floodgate, floodgate-envoy); FEATURE are those it is built with.
The same Cargo.lock gives the same bytes: the time is SOURCE_DATE_EPOCH."""

import json
import os
import pathlib
import subprocess
import sys
import time
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]


def metadata(features):
    host = next(
        line.removeprefix("host: ")
        for line in subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout.splitlines()
        if line.startswith("host: ")
    )
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", host]
    if features:
        command += ["--features", ",".join(features)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    return json.loads(told.stdout)


def linked(graph, root):
    """The crates that end up in the file, each with those that it uses. What only
    builds or tests does not."""
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    procedural = {
        package["id"]
        for package in graph["packages"]
        if any("proc-macro" in target["kind"] for target in package["targets"])
    }
    found, waiting = {}, [root]
    while waiting:
        this = waiting.pop()
        if this in found:
            continue
        found[this] = sorted(
            used["pkg"]
            for used in nodes[this]["deps"]
            if used["pkg"] not in procedural and any(kind["kind"] is None for kind in used["dep_kinds"])
        )
        waiting += found[this]
    return found


def bill(name, features):
    graph = metadata(features)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    sums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in lock["package"]}
    packages = {package["id"]: package for package in graph["packages"]}
    root = graph["resolve"]["root"]
    uses = linked(graph, root)

    def ref(package):
        return f"pkg:cargo/{packages[package]['name']}@{packages[package]['version']}"

    def component(package):
        card = packages[package]
        made = {"type": "library", "bom-ref": ref(package), "name": card["name"], "version": card["version"]}
        if card["license"]:
            # The old way to write OR.
            made["licenses"] = [{"expression": card["license"].replace("/", " OR ")}]
        if checksum := sums.get((card["name"], card["version"])):
            made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
            made["purl"] = ref(package)
        return made

    parts = [component(package) for package in sorted(uses, key=ref) if package != root]
    top = {**component(root), "type": "library" if name == "floodgate" else "application", "name": name}
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)), "component": top},
        "components": parts,
        "dependencies": [
            {"ref": ref(package), "dependsOn": [ref(used) for used in uses[package]]}
            for package in sorted(uses, key=ref)
        ],
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "serialNumber": f"urn:uuid:{number}",
        **document,
    }


def main():
    if len(sys.argv) < 2:
        sys.exit("sbom: usage: scripts/package/sbom.py NAME [FEATURE...]")
    json.dump(bill(sys.argv[1], sys.argv[2:]), sys.stdout, indent=1)
    print()


main()
