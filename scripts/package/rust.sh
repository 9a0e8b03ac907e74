#!/usr/bin/env bash
# Packs the crate for Rust, src/clients/rust:
#
#   scripts/package/rust.sh FOLDER
#
# writes FOLDER/floodgate-redis-VERSION.crate and prints its path. Ends with 3, and
# says what is missing, where the registry of its crates cannot be had.
set -euo pipefail

[ $# -eq 1 ] || { echo "package: usage: scripts/package/rust.sh FOLDER" >&2; exit 2; }
mkdir -p -- "$1"
out=$(realpath -- "$1")
cd "$(dirname "$0")/../.."

tests/clients/install.sh rust >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy, so that the file has the licence and nothing that people built.
tar -C src/clients/rust --exclude ./target -cf - . | tar -C "$work" -xf -
cp LICENSE "$work"
cargo package --quiet --offline --no-verify --manifest-path "$work/Cargo.toml" --target-dir "$work/target" >&2
crate=$(basename "$work"/target/package/floodgate-redis-*.crate)
cp "$work/target/package/$crate" "$out"
echo "$out/$crate"
