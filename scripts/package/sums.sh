#!/usr/bin/env bash
# Writes the SHA-256 sums of the packages in a folder:
#
#   scripts/package/sums.sh FOLDER
#
# writes FOLDER/floodgate-VERSION-ARCH.sha256 and prints its path. Who has the
# packages checks them in their folder: sha256sum --check floodgate-*.sha256
set -euo pipefail

[ $# -eq 1 ] || { echo "package: usage: scripts/package/sums.sh FOLDER" >&2; exit 2; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$(dirname "$0")/../../Cargo.toml" | head -n 1)
sums=floodgate-$version-$(dpkg --print-architecture).sha256
cd -- "$1"
shopt -s extglob nullglob
packages=(!(*.sha256))
[ ${#packages[@]} -gt 0 ] || { echo "package: $PWD holds no packages" >&2; exit 1; }
sha256sum -- "${packages[@]}" >"$sums"
echo "$PWD/$sums"
