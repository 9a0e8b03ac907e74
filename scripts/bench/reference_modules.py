"""Modules that are measured beside ours, built here: the least one in C, and redis-cell
as its crate is published."""

import pathlib
import re
import shutil
import subprocess

from peers import CACHE, Missing

BARE = pathlib.Path(__file__).parent / "bare" / "bare.c"
CELL = "0.2.2"
# What is told where it cannot be built.
CELL_BY_HAND = (
    "by hand, on Redis 7.0.15 on 2026-11-29, it took 1.50 × SET PX on a new key and 1.76 on one that is there"
)


def run(command, why, **more):
    ran = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if ran.returncode:
        said = (ran.stderr or ran.stdout).strip().splitlines()[-1:] or ["it does not say why"]
        raise Missing(f"{why}: {said[0]}")
    return ran.stdout


def bare():
    """The least module; built anew where its source is younger."""
    compiler = shutil.which("cc")
    if not compiler:
        raise Missing("no C compiler is installed")
    library = CACHE / "bare.so"
    if not library.exists() or library.stat().st_mtime < BARE.stat().st_mtime:
        CACHE.mkdir(parents=True, exist_ok=True)
        new = library.with_suffix(".new")
        run([compiler, "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o", new, BARE], "it does not build")
        new.rename(library)
    return library


def cell():
    """redis-cell, from its crate: built once, in a folder of its own."""
    library = CACHE / "cell" / "libredis_cell.so"
    if library.exists():
        return library
    if not shutil.which("cargo"):
        raise Missing("cargo is not installed")
    folder = CACHE / "cell" / "build"
    shutil.rmtree(folder, ignore_errors=True)
    # A crate that needs it brings its source to cargo's own folder.
    needs = folder / "needs"
    (needs / "src").mkdir(parents=True)
    (needs / "src" / "lib.rs").touch()
    (needs / "Cargo.toml").write_text(
        f'[package]\nname = "needs"\nversion = "0.0.0"\nedition = "2021"\n\n[dependencies]\nredis-cell = "={CELL}"\n'
    )
    tree = run(["cargo", "metadata", "--format-version", "1"], f"redis-cell {CELL} cannot be had", cwd=needs)
    source = re.search(rf'"manifest_path":"([^"]*/redis-cell-{re.escape(CELL)})/Cargo.toml"', tree)
    if not source:
        raise Missing(f"redis-cell {CELL} came without its source")
    shutil.copytree(source[1], folder / "source")
    run(
        ["cargo", "build", "--release", "--target-dir", folder / "target"],
        f"redis-cell {CELL} does not build",
        cwd=folder / "source",
    )
    (folder / "target" / "release" / library.name).rename(library)
    shutil.rmtree(folder)
    return library
