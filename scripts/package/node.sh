#!/usr/bin/env bash
# Packs the package for Node, src/clients/node:
#
#   scripts/package/node.sh FOLDER
#
# writes FOLDER/floodgate-redis-VERSION.tgz and prints its path. Ends with 3, and
# says what is missing, where Node 20 or the registry of its packages cannot be had.
set -euo pipefail

[ $# -eq 1 ] || { echo "package: usage: scripts/package/node.sh FOLDER" >&2; exit 2; }
mkdir -p -- "$1"
out=$(realpath -- "$1")
cd "$(dirname "$0")/../.."

needs=$(tests/clients/install.sh node-package)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C src/clients/node --exclude ./dist --exclude ./node_modules -cf - . | tar -C "$work" -xf -
cp LICENSE "$work"
ln -s "$needs/node_modules" "$work/node_modules"
cd "$work"
npm pack --loglevel=error --pack-destination "$out" >&2
node -p '`'"$out"'/${require("./package.json").name}-${require("./package.json").version}.tgz`'
