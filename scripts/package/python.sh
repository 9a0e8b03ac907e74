#!/usr/bin/env bash
# Builds the package for Python, src/clients/python:
#
#   scripts/package/python.sh FOLDER
#
# writes FOLDER/floodgate_redis-VERSION-py3-none-any.whl, which users install, and
# FOLDER/floodgate_redis-VERSION.tar.gz, its source; prints both paths. Ends with 3, and
# says what is missing, where Python or the registry of its packages cannot be had.
set -euo pipefail

[ $# -eq 1 ] || { echo "package: usage: scripts/package/python.sh FOLDER" >&2; exit 2; }
mkdir -p -- "$1"
out=$(realpath -- "$1")
cd "$(dirname "$0")/../.."

needs=$(tests/clients/install.sh python-package)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C src/clients/python --exclude __pycache__ --exclude ./dist -cf - . | tar -C "$work" -xf -
cp LICENSE "$work"
cd "$work"
made=$("$needs/venv/bin/python" -B -m hatchling build -t wheel -t sdist -d "$work/dist")
# By what was built, not by what lies there from another version.
for file in "$work"/dist/*.whl "$work"/dist/*.tar.gz; do
    [ -e "$file" ] || { echo "package: nothing was built: $made" >&2; exit 1; }
    mv -- "$file" "$out/"
    echo "$out/$(basename "$file")"
done
