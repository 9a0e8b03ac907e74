#!/usr/bin/env bash
# Installs what the recipes of one language need into .cache, and prints the
# folder. Quick when it is there already. Ends with 3 and says what is missing
# where the language, or its packages, cannot be had.
#
#   tests/clients/install.sh python|node                  for the recipes here
#   tests/clients/install.sh moving-python|moving-node    for tests/moving
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${FLOODGATE_CACHE:-$here/../../.cache}/clients
missing() { echo "$*" >&2; exit 3; }

case ${1:-} in
    python | moving-python)
        command -v python3 >/dev/null || missing "python3 is not installed"
        list=$here/python/requirements.txt
        [ "$1" = python ] || list=$here/../moving/requirements.txt
        ;;
    node | moving-node)
        command -v node >/dev/null && command -v npm >/dev/null || missing "node and npm are not installed"
        list=$here/node/package.json
        [ "$1" = node ] || list=$here/../moving/package.json
        ;;
    *) echo "usage: tests/clients/install.sh [moving-]python|[moving-]node" >&2; exit 2 ;;
esac

folder=$cache/$1
# Tests run side by side: who comes second waits until the first has installed.
mkdir -p "$cache"
exec 9>"$cache/$1.lock"
flock 9
if ! cmp -s "$list" "$folder/installed"; then
    rm -rf "$folder"
    mkdir -p "$folder"
    log=$cache/$1.log
    if [ "${1#moving-}" = python ]; then
        { python3 -m venv "$folder/venv" &&
            "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$list"
        } >"$log" 2>&1 || missing "the packages of Python cannot be had: $(tail -n 1 "$log")"
    else
        cp "$list" "$folder/"
        (cd "$folder" && npm install --silent --no-audit --no-fund --ignore-scripts) >"$log" 2>&1 ||
            missing "the packages of Node cannot be had: $(tail -n 1 "$log")"
    fi
    cp "$list" "$folder/installed"
fi
cd "$folder" && pwd
