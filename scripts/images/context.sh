#!/usr/bin/env bash
# Gathers what the images are built from:
#
#   scripts/images/context.sh FOLDER LIBRARY [OTHER...]
#
# writes FOLDER/libfloodgate.so, FOLDER/copy and FOLDER/LICENSE, and each OTHER, which
# scripts/package/libraries.sh built for other systems, by its own name.
set -euo pipefail

[ $# -ge 2 ] || { echo "images: usage: scripts/images/context.sh FOLDER LIBRARY [OTHER...]" >&2; exit 2; }
mkdir -p -- "$1"
folder=$(realpath -- "$1")
library=$(realpath -- "$2")
shift 2
for other in "$@"; do install -m 755 "$other" "$folder"; done
cd "$(dirname "$0")/../.."

strip --strip-unneeded -o "$folder/libfloodgate.so" "$library"
chmod 755 "$folder/libfloodgate.so"
cp LICENSE "$folder"
# Static: an image from scratch has no C library.
rustc --edition 2024 -C opt-level=s -C panic=abort -C strip=symbols -C target-feature=+crt-static \
    -o "$folder/copy" scripts/images/copy.rs
printf '%s\n' "$folder"/libfloodgate.so "$folder"/copy "$folder"/LICENSE
