#!/usr/bin/env bash
# Runs the integration tests on every server that scripts/servers.sh can get,
# and prints what was tried on which. Arguments go to the tests:
#
#   scripts/test-servers.sh [names of tests ...]
set -euo pipefail

cd "$(dirname "$0")/.."
logs=${FLOODGATE_CACHE:-.cache}/test-servers
mkdir -p "$logs"

enough=yes
servers=$(scripts/servers.sh fetch) || enough=no
cargo test --test server --no-run

failed=0 passed=0 table=
while read -r name version program; do
    log=$logs/$name.log
    echo "== $name ($version)"
    if FLOODGATE_SERVER=$program cargo test --test server -- "$@" </dev/null >"$log" 2>&1; then
        result=ok
        passed=$((passed + 1))
    else
        result=FAILED
        failed=$((failed + 1))
        sed -n '/^failures:/,$p' "$log"
    fi
    summary=$(sed -n 's/^test result: [a-zA-Z]*\. \(.* ignored\);.*/\1/p' "$log" | tail -n 1)
    table+=$(printf '%-12s %-8s %-7s %s' "$name" "$version" "$result" "${summary:-did not finish, see $log}")$'\n'
done <<<"$servers"

echo
printf '%-12s %-8s %-7s %s\n' server version result tests
printf '%s' "$table"
for name in $(scripts/servers.sh names); do
    grep -q "^$name " <<<"$servers" || echo "$name cannot be had"
done
[ "$enough" = yes ] || echo "too few servers: that counts as a failure"
echo
echo "servers: $passed passed, $failed failed"
[ "$enough" = yes ] && [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
