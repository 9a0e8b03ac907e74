#!/usr/bin/env bash
# Everything that could go wrong, in the size that the promises are made for, on
# every server. Ends with a table of what was tried and what was lost.
#
#   scripts/torture.sh                            all parts, on all servers (a day)
#   PARTS='kills fuzz' scripts/torture.sh         some parts
#   SERVERS='redis-7.0' scripts/torture.sh        on some servers
#   FLOODGATE_TORTURE=5 scripts/torture.sh        five percent of the full size; or quick
#   FLOODGATE_FUZZ=10 scripts/torture.sh          seconds for each fuzz target
#   scripts/torture.sh table                      only the table of what has run
#
# The rows of a part on a server replace those of its last run and stay until
# then: the table can be filled part by part.
set -euo pipefail

cd "$(dirname "$0")/.."
cache=$(mkdir -p "${FLOODGATE_CACHE:-.cache}" && cd "${FLOODGATE_CACHE:-.cache}" && pwd)
logs=$cache/torture
mkdir -p "$logs"

# Each part: its name, which is also its place in the table, and what it is.
parts=(properties suite kills requests files cluster sentinel operations defrag soak valgrind asan fuzz)
declare -A tests=(
    [kills]="crash:: disk::"
    [requests]="hostile:: regressions:: limited_user"
    [files]="payloads:: upgrade:: replicas::"
    [cluster]="cluster::"
    [sentinel]="sentinel::"
    [operations]="caller:: clock:: neighbours:: short_of_memory operators_at_work connections large_keys"
    [soak]="soak::"
)

table() {
    local part file
    printf '%-78s %10s  %s\n' tried times lost
    for part in "${parts[@]}"; do
        for file in "$logs/$part"/*.table; do
            [ -e "$file" ] || continue
            while IFS=$'\t' read -r what tried lost; do
                printf '%-78s %10s  %s\n' "$what" "$tried" "$lost"
            done <"$file"
        done
    done
}

if [ "${1:-}" = table ]; then
    table
    exit
fi

read -ra wanted <<<"${PARTS:-${parts[*]}}"
for part in "${wanted[@]}"; do
    [[ " ${parts[*]} " == *" $part "* ]] || { echo "unknown part '$part'; there are: ${parts[*]}" >&2; exit 2; }
done
export FLOODGATE_TORTURE=${FLOODGATE_TORTURE:-full}
revision=$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
# Many connections need many files, here and in the servers.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
failed=0

# begin PART NAME TITLE: its rows go to $FLOODGATE_TORTURE_TABLE from now on, its
# output to $log.
begin() {
    mkdir -p "$logs/$1"
    echo "== $3"
    log=$logs/$1/$2.log
    export FLOODGATE_TORTURE_TABLE=$logs/$1/$2.table
    printf '%s\t\t\n' "$3 (size $FLOODGATE_TORTURE, $revision, $(date -u +%F))" >"$FLOODGATE_TORTURE_TABLE"
    SECONDS=0
}
row() { printf '  %s\t%s\t%s\n' "$1" "$2" "$3" >>"$FLOODGATE_TORTURE_TABLE"; }
failure() { failed=1; row "$1" "" "FAILED: $2"; echo "   failed, see $2" >&2; }

# run TEST FILTER...: these tests of tests/TEST, two at a time.
run() {
    local test=$1 passed
    shift
    if cargo test --test "$test" -- --test-threads "${threads:-2}" --nocapture "$@" </dev/null >"$log" 2>&1; then
        passed=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | tail -n 1)
        row "tests ($((SECONDS / 60)) min)" "$passed" nothing
    else
        failure "tests" "$log"
    fi
}

servers=$(scripts/servers.sh fetch) || {
    begin suite missing "four servers and more"
    failure "servers" "too few could be had"
}
FLOODGATE_SERVERS=$(cut -d' ' -f3 <<<"$servers" | paste -sd:)
export FLOODGATE_SERVERS
for name in $(scripts/servers.sh names); do
    grep -q "^$name " <<<"$servers" || { begin suite "$name" "server $name"; row "" 0 "cannot be had"; }
done
cargo test --test server --test torture --no-run

# The suites under tools that watch memory, on a server whose memory is the C
# library's: watched PART WRAPPER TEST FILTER..., where WRAPPER starts the server
# under the tool, which reports to the folder of reports.
watched() {
    local part=$1 wrapper=$2
    shift 2
    chmod 755 "$wrapper"
    FLOODGATE_SERVER=$wrapper run "$@"
    # Errors that the module has a part in.
    if grep -l libfloodgate "$logs/$part"/reports/* >"$logs/$part/errors" 2>/dev/null; then
        failure "memory" "$(head -n 1 "$logs/$part/errors")"
    else
        row "reports that name the module" 0 nothing
    fi
}

# Ten times the cases of `make test`.
properties_part() {
    begin properties all "properties of the core"
    PROPTEST_CASES=100000 run core
}

# The server for that, or a row that says why not: plain PART COMMAND.
plain_server() {
    local program
    program=$(awk '$1 == "redis-6.2" { print $3 }' <<<"$servers")
    rm -rf "$logs/$1/reports"
    mkdir -p "$logs/$1/reports"
    if [ -n "$program" ] && command -v "$2" >/dev/null; then
        echo "$program"
    else
        row "not tried: $2 or Redis 6.2 is missing" 0 ""
        return 1
    fi
}

valgrind_part() {
    local program
    begin valgrind all "under valgrind, on Redis 6.2"
    program=$(plain_server valgrind valgrind) || return 0
    cat >"$logs/valgrind/server" <<WRAPPER
#!/bin/sh
[ "\$1" != --version ] || exec "$program" "\$@"
exec valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \\
    --num-callers=30 --log-file="$logs/valgrind/reports/%p" "$program" "\$@"
WRAPPER
    FLOODGATE_TORTURE=quick threads=1 \
        watched valgrind "$logs/valgrind/server" torture limited_user cut_and_forged
    # Without the tests that hold the server to milliseconds of real time: under
    # valgrind it is thirty times slower.
    threads=1 watched valgrind "$logs/valgrind/server" server --skip w4_ --skip w5_by_the_servers_own_clock \
        --skip while_clients_are_paused --skip counters_by_outcome --skip volatile_ttl
}

# The module alone is built for it; the server and all else are as they are, so
# the C compiler's runtime is loaded first. Any compiler does it when told that it
# is building itself.
asan_part() {
    local program target host runtime
    begin asan all "with AddressSanitizer, on Redis 6.2"
    program=$(plain_server asan cc) || return 0
    runtime=$(realpath "$(cc -print-file-name=libasan.so)")
    host=$(rustc -vV | sed -n 's/^host: //p')
    target=${CARGO_TARGET_DIR:-target}/asan
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes" cargo build --lib --target "$host" --target-dir "$target" >"$log" 2>&1
    cat >"$logs/asan/server" <<WRAPPER
#!/bin/sh
[ "\$1" != --version ] || exec "$program" "\$@"
ASAN_OPTIONS=detect_leaks=0:handle_segv=0:allocator_may_return_null=1:log_path=$logs/asan/reports/report \\
    LD_PRELOAD=$runtime exec "$program" "\$@"
WRAPPER
    local module
    module=$(realpath "$target/$host/debug/libfloodgate.so")
    FLOODGATE_TORTURE=$([ "$FLOODGATE_TORTURE" = full ] && echo 20 || echo quick) FLOODGATE_MODULE=$module \
        watched asan "$logs/asan/server" torture limited_user random_requests cut_and_forged damaged caller:: regressions::
    FLOODGATE_MODULE=$module watched asan "$logs/asan/server" server
}

# Only a server with the allocator of Redis' own source does it.
defrag_part() {
    local line
    if ! line=$(scripts/servers.sh fetch redis-7.0-defrag); then
        begin defrag missing "active defragmentation"
        row "not tried: no server that does it can be built here" 0 ""
        return 0
    fi
    begin defrag all "active defragmentation on ${line% *}"
    FLOODGATE_SERVER=${line##* } run torture defragmentation
}

# part PART: on each server that is asked for.
part() {
    local name version program
    while read -r name version program; do
        [[ " ${SERVERS:-$name} " == *" $name "* ]] || continue
        begin "$1" "$name" "$1 on $name $version"
        export FLOODGATE_SERVER=$program
        if [ "$1" = suite ]; then
            run server
        else
            # The picture of the soak.
            export FLOODGATE_TORTURE_PICTURE=$logs/$1/$name.svg
            # shellcheck disable=SC2086 # filters are words
            run torture ${tests[$1]}
        fi
    done <<<"$servers"
}

for part in "${wanted[@]}"; do
    case $part in
        properties) properties_part ;;
        valgrind) valgrind_part ;;
        asan) asan_part ;;
        defrag) defrag_part ;;
        fuzz)
            begin fuzz all "fuzz targets"
            scripts/fuzz.sh "${FLOODGATE_FUZZ:-60}" || failed=1
            ;;
        *) part "$part" ;;
    esac
done

echo
table
exit "$failed"
