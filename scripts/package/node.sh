#!/usr/bin/env bash
# Packs the package for Node, whose folder has what it needs to be built:
#
#   scripts/package/node.sh PACKAGE FOLDER
#
# writes FOLDER/floodgate-redis-VERSION.tgz and prints its path.
set -euo pipefail

[ $# -eq 2 ] || { echo "package: usage: scripts/package/node.sh PACKAGE FOLDER" >&2; exit 2; }
package=$(realpath -- "$1")
mkdir -p -- "$2"
out=$(realpath -- "$2")

cd "$package"
npm pack --silent --pack-destination "$out" >&2
name=$(node -p '`${require("./package.json").name}-${require("./package.json").version}`')
echo "$out/$name.tgz"
