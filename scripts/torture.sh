#!/usr/bin/env bash
# Everything that could go wrong, in the size that the promises are made for:
# the whole test suite and the tests of tests/torture on every server, crashes
# and resharding in the hundreds, the fuzz targets, and a part under valgrind.
# Ends with a table of what was tried and what was lost.
#
#   FLOODGATE_TORTURE=1000 scripts/torture.sh     another size than the full one
#   FLOODGATE_FUZZ=10 scripts/torture.sh          seconds for each fuzz target
set -euo pipefail

cd "$(dirname "$0")/.."
cache=$(mkdir -p "${FLOODGATE_CACHE:-.cache}" && cd "${FLOODGATE_CACHE:-.cache}" && pwd)
logs=$cache/torture
rm -rf "$logs"
mkdir -p "$logs"
export FLOODGATE_TORTURE=${FLOODGATE_TORTURE:-full}
export FLOODGATE_TORTURE_TABLE=$logs/table
: >"$FLOODGATE_TORTURE_TABLE"
# Many connections need many files, here and in the servers.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

failed=0
row() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$FLOODGATE_TORTURE_TABLE"; }
failure() { failed=1; row "$1" "" "FAILED: $2"; echo "   failed, see $2" >&2; }

servers=$(scripts/servers.sh fetch) || failure "four servers and more" "too few could be had"
FLOODGATE_SERVERS=$(cut -d' ' -f3 <<<"$servers" | paste -sd:)
export FLOODGATE_SERVERS
for name in $(scripts/servers.sh names); do
    grep -q "^$name " <<<"$servers" || row "server $name" 0 "cannot be had"
done

cargo test --test server --test torture --no-run
while read -r name version program; do
    for suite in server torture; do
        echo "== $suite on $name ($version)"
        row "$suite on $name $version" "" ""
        log=$logs/$suite-$name.log
        # One at a time: each of these alone uses the whole machine.
        if FLOODGATE_SERVER=$program cargo test --test "$suite" -- --test-threads 2 --nocapture \
            </dev/null >"$log" 2>&1; then
            passed=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | tail -n 1)
            row "tests" "$passed" nothing
        else
            failure "tests" "$log"
        fi
    done
done <<<"$servers"

# A part of it under valgrind, on a server whose memory is the C library's.
program=$(awk '$1 == "redis-6.2" { print $3 }' <<<"$servers")
if [ -n "$program" ] && command -v valgrind >/dev/null; then
    echo "== valgrind"
    row "under valgrind" "" ""
    wrapper=$logs/valgrind-server
    mkdir -p "$logs/valgrind"
    cat >"$wrapper" <<WRAPPER
#!/bin/sh
[ "\$1" != --version ] || exec "$program" "\$@"
exec valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \\
    --num-callers=30 --log-file="$logs/valgrind/%p" "$program" "\$@"
WRAPPER
    chmod 755 "$wrapper"
    log=$logs/valgrind.log
    FLOODGATE_TORTURE=4000 FLOODGATE_SERVER=$wrapper cargo test --test torture -- --test-threads 1 \
        limited_user </dev/null >"$log" 2>&1 || failure "tests" "$log"
    # Errors that the module has a part in.
    if grep -l libfloodgate "$logs"/valgrind/* >"$logs/valgrind-errors"; then
        failure "memory" "$(head -n 1 "$logs/valgrind-errors")"
    else
        row "servers watched" "$(find "$logs/valgrind" -type f | wc -l)" nothing
    fi
else
    row "under valgrind" 0 "not tried: valgrind or Redis 6.2 is missing"
fi

echo "== fuzz targets"
row "fuzz targets" "" ""
scripts/fuzz.sh "${FLOODGATE_FUZZ:-60}" || failed=1

echo
printf '%-72s %12s  %s\n' tried times lost
while IFS=$'\t' read -r what tried lost; do
    printf '%-72s %12s  %s\n' "$what" "$tried" "$lost"
done <"$FLOODGATE_TORTURE_TABLE"
exit "$failed"
