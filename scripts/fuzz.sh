#!/usr/bin/env bash
# Runs the libFuzzer targets of tests/fuzz, each for so many seconds:
#
#   scripts/fuzz.sh [SECONDS [TARGET ...]]     default 60, all targets
#   scripts/fuzz.sh shrink                     keep the corpus small again
#
# They need cargo-fuzz, which is added when missing, and what only the nightly
# compiler offers: where there is none, the one that is there offers it too when
# told that it is building itself.
# What a target fails on is left in tests/fuzz/artifacts.
set -euo pipefail

cd "$(dirname "$0")/../tests/fuzz"
PATH="$PATH:$HOME/.cargo/bin"
# The corpus that is kept; what a run finds beside it stays in .cache.
found=${FLOODGATE_CACHE:-../../.cache}/fuzz

cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
if cargo +nightly --version >/dev/null 2>&1; then
    export RUSTUP_TOOLCHAIN=nightly
else
    export RUSTC_BOOTSTRAP=1
fi

fuzz() { cargo fuzz "$1" --fuzz-dir . "${@:2}"; }
mapfile -t targets < <(sed -n '/^\[\[bin\]\]/{n;s/^name = "\(.*\)"/\1/p}' Cargo.toml)

if [ "${1:-}" = shrink ]; then
    for target in "${targets[@]}"; do
        mkdir -p "corpus/$target" "$found/$target"
        rm -rf "$found/small"
        mkdir "$found/small"
        # Short inputs that together reach what all of them reach, 200 at most.
        fuzz run "$target" "$found/small" "corpus/$target" "$found/$target" -- -merge=1 -max_len=256
        rm -rf "corpus/$target"
        mkdir "corpus/$target"
        # shellcheck disable=SC2012 # the names are checksums
        (cd "$found/small" && ls -S -r | head -n 200 | xargs -r cp -t "$OLDPWD/corpus/$target")
        rm -rf "$found/small"
    done
    exit
fi

seconds=${1:-60}
[ $# -lt 2 ] || targets=("${@:2}")
fuzz build
failed=0
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "$found/$target"
    log=$found/$target.log
    if fuzz run "$target" "$found/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -max_len=1024 -timeout=10 >"$log" 2>&1; then
        lost=nothing
    else
        lost="FAILED: $log"
        failed=1
    fi
    runs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$log" | tail -n 1)
    printf 'fuzz target %s, %s s\t%s\t%s\n' "$target" "$seconds" "${runs:-?}" "$lost" |
        tee -a "${FLOODGATE_TORTURE_TABLE:-/dev/null}"
done
exit "$failed"
