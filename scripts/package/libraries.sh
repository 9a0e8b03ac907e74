#!/usr/bin/env bash
# Builds the library for other systems than this one, on Debian on x86-64:
#
#   scripts/package/libraries.sh FOLDER              all of them
#   scripts/package/libraries.sh FOLDER TARGET...    some, by Rust's name
#
#   x86_64-unknown-linux-musl     for images made of Alpine
#   aarch64-unknown-linux-gnu     for arm64 machines with glibc
#
# writes FOLDER/libfloodgate-x86_64-musl.so and FOLDER/libfloodgate-aarch64-gnu.so
# and prints their paths. Needs rustup, and installs what is missing of Debian's
# musl-tools and gcc-aarch64-linux-gnu.
#
# `make images-test` loads the first in a server that is built with musl, and the
# second in Debian's server for arm64 where qemu-user-static can run it.
set -euo pipefail

say() { echo "libraries: $*" >&2; }
[ $# -ge 1 ] || { say "usage: scripts/package/libraries.sh FOLDER [TARGET...]"; exit 2; }
mkdir -p -- "$1"
out=$(realpath -- "$1")
shift
cd "$(dirname "$0")/../.."
target_dir=$(realpath -m -- "${CARGO_TARGET_DIR:-target}")
targets=("$@")
[ $# -gt 0 ] || targets=(x86_64-unknown-linux-musl aarch64-unknown-linux-gnu)

needs() {
    command -v "$1" >/dev/null || missing+=("${@:2}")
}

prepare() {
    rustup target list --installed | grep -qx "$1" || { say "adding $1 to the toolchain"; rustup target add "$1" >&2; }
    local missing=() as_root=()
    case $1 in
        *-musl) needs musl-gcc musl-tools ;;
        aarch64-*) needs aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;;
    esac
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    { "${as_root[@]}" apt-get update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "${missing[@]}"; } >&2
}

# Alpine has no libgcc_s unless somebody installed it, and Rust asks for it in every
# library for musl. Rust brings an unwinder of its own for static programs: a linker
# script of that name puts it into the library instead.
own_unwinder() {
    local unwinder folder=$target_dir/own-unwinder
    unwinder=$(rustc --print sysroot)/lib/rustlib/$1/lib/self-contained/libunwind.a
    [ -e "$unwinder" ] || { say "$unwinder is missing"; return 1; }
    mkdir -p "$folder"
    echo "INPUT($unwinder)" >"$folder/libgcc_s.so"
    echo "$folder"
}

build() {
    local flags=() clang
    case $1 in
        *-musl)
            flags=(-C target-feature=-crt-static -C linker=musl-gcc -L "native=$(own_unwinder "$1")")
            clang=-I/usr/include/x86_64-linux-musl
            ;;
        aarch64-*)
            flags=(-C linker=aarch64-linux-gnu-gcc)
            clang=-I/usr/aarch64-linux-gnu/include
            ;;
        *)
            say "unknown target '$1'"
            return 1
            ;;
    esac
    local name
    name=$(echo "$1" | tr a-z- A-Z_)
    env "CARGO_TARGET_${name}_RUSTFLAGS=${flags[*]}" BINDGEN_EXTRA_CLANG_ARGS="$clang" \
        FLOODGATE_REVISION="${FLOODGATE_REVISION:-$(git describe --always --dirty --abbrev=12 2>/dev/null || true)}" \
        cargo build --release --lib --target "$1" >&2
    local made=$out/libfloodgate-${1%%-*}-${1##*-}.so strip=strip
    [ "${1%%-*}" = x86_64 ] || strip=${1%%-*}-linux-gnu-strip
    "$strip" --strip-unneeded -o "$made" "$target_dir/$1/release/libfloodgate.so"
    chmod 755 "$made"
    # Of the C library it may ask for nothing but itself.
    if [[ $1 == *-musl ]] && readelf -d "$made" | grep NEEDED | grep -v 'libc.so\|libc.musl-x86_64.so.1' >&2; then
        say "$made needs more than musl"
        return 1
    fi
    echo "$made"
}

for target in "${targets[@]}"; do
    prepare "$target"
    build "$target"
done
