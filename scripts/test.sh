#!/usr/bin/env bash
# What `make test` runs: every step, up to the first that fails; the last line
# is the verdict, and before it stands again what the tests that failed said.
#
#   scripts/test.sh
#
# LOCKED=--locked takes Cargo.lock as it is committed.
#
# The tests run the development build. On two cores it builds in a fraction of
# the time that the release profile's whole-program optimisation takes, for each
# test program again, and it stops at an overflow, which the release build would
# not; opt-level 1 keeps the servers quick enough. Most test programs wait, and are
# built without optimisation: tests/server/Cargo.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

started=$SECONDS
step=
logs=$(mktemp -d)
verdict() {
    local status=$? took
    # What runs beside stops the servers that it has started.
    wait
    sed -n '/^---- .* ----$/,/^failures:$/p' "$logs"/* | tail -n 200
    rm -rf "$logs"
    took="$(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s"
    if [ "$status" -eq 0 ]; then
        echo "make test: PASSED in $took"
    else
        echo "make test: FAILED after $took, at: $step"
    fi
}
trap verdict EXIT
# Else a run that is stopped would end with the status of the command before.
trap 'exit 130' INT
trap 'exit 143' TERM

run() {
    step="$*"
    echo "+ $step"
    "$@" 2>&1 | tee "$logs/last"
}

# Starts what mostly waits; `joined` shows what it said.
started_beside=()
beside() {
    local log="$logs/beside-${#started_beside[@]}"
    { echo "+ $*" && "$@"; } >"$log" 2>&1 &
    started_beside+=("$!" "$log" "$*")
}

joined() {
    local at status
    for ((at = 0; at < ${#started_beside[@]}; at += 3)); do
        step=${started_beside[at + 2]}
        status=0
        wait "${started_beside[at]}" || status=$?
        cat "${started_beside[at + 1]}"
        [ "$status" -eq 0 ] || exit "$status"
    done
    started_beside=()
}

locked=()
[ -z "${LOCKED:-}" ] || locked=("$LOCKED")
# What is built once only needs nothing that a next build could start from.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0

run scripts/setup.sh
# What tests and linters need besides comes while cargo builds, and then the packages that the tests of
# clients need. A test says what could not be had.
packages() {
    make --no-print-directory monitor-check lint || return
    for language in python node-package node python-package migration-python migration-node; do
        tests/clients/install.sh "$language" >/dev/null 2>&1 || true
    done
}
beside packages
run cargo fmt --check
run cargo fmt --check --manifest-path src/clients/rust/Cargo.toml
# One build for all tests. Clippy and rustdoc read what it compiles of this tree.
export RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/lint/compile.sh"
tests=(cargo test --no-fail-fast --all-features "${locked[@]}")
run "${tests[@]}" --no-run
# The client for Rust, a workspace of its own; its tests are run by those on servers,
# out of the same folder, so that they are built here.
run cargo test --no-run --manifest-path src/clients/rust/Cargo.toml --locked --all-features \
    --target-dir "${CARGO_TARGET_DIR:-target}"
joined
# Most tests wait for servers and programs that they have started: three times as many at a time as
# there are processors take half of the time. Those with Envoys wait most.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((3 * $(nproc)))}"
beside "${tests[@]}" --bins --test envoy --test replay --test torture
# These only count: they take what the others leave.
beside nice "${tests[@]}" --test architecture --test core --test types
# The library that the tests have loaded: one without the features of the tools
# would be built anew, with bindgen and two dozen other crates.
if command -v python3 >/dev/null; then
    beside env FLOODGATE_BUILD=debug/deps python3 scripts/bench/instructions.py --check tests/instructions.txt
fi
run "${tests[@]}" --test server
run "${tests[@]}" --doc
joined
