#!/usr/bin/env bash
# Compiles a crate, and meanwhile has clippy check it and rustdoc read its documentation: a warning of
# theirs fails it. Cargo calls this in place of rustc, for the crates of this tree only:
#
#   RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/lint/compile.sh cargo test --no-run
#
# `cargo clippy` and `cargo doc` find the same. They would check two hundred dependencies that a build
# of the tests compiles anyway.
set -uo pipefail
rustc=$1
shift

# Cargo asks for the compiler's version and targets, too.
case " $* " in
*' --emit='*) ;;
*) exec "$rustc" "$@" ;;
esac

# What rustc is asked, without where it writes and how it tells: cargo would take what these write for
# rustc's.
crate=() as_tests=() value_is_left_out=
documented=(--document-private-items -A rustdoc::private-intra-doc-links)
for argument; do
    if [ -n "$value_is_left_out" ]; then
        value_is_left_out=
        continue
    fi
    case $argument in
    --out-dir) value_is_left_out=yes ;;
    --emit=* | --error-format=* | --json=* | --diagnostic-width=*) ;;
    # The value of the `-C` before it.
    incremental=*) unset 'crate[-1]' ;;
    --test) as_tests=(--test) ;;
    # Others read what of a library is public; a program is read by its authors alone.
    lib | rlib) crate+=("$argument") documented=() ;;
    *) crate+=("$argument") ;;
    esac
done

read_crate() {
    clippy-driver "$rustc" "${crate[@]}" "${as_tests[@]}" -D warnings --emit=metadata --out-dir "$scratch" || return
    # The documentation of tests is not read.
    [ ${#as_tests[@]} -gt 0 ] || rustdoc "${crate[@]}" -D warnings "${documented[@]}" --out-dir "$scratch/doc"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
read_crate >"$scratch/said" 2>&1 &
reading=$!
"$rustc" "$@"
status=$?
if ! wait "$reading"; then
    cat "$scratch/said" >&2
    status=1
fi
exit "$status"
