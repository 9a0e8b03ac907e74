#!/usr/bin/env bash
# Installs or builds what the recipes of one language need, in .cache, and prints
# the folder. Quick when it is there already. Ends with 3 and says what is missing
# where the language, or the registry of its packages, cannot be had.
#
#   tests/clients/install.sh python|node                  for the recipes here
#   tests/clients/install.sh migration-python|migration-node    for tests/migration
#   tests/clients/install.sh litellm                      for tests/clients/litellm
#   tests/clients/install.sh python-package               to build src/clients/python
#   tests/clients/install.sh node-package                 for src/clients/node
#   tests/clients/install.sh rust                         for src/clients/rust
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${FLOODGATE_CACHE:-$here/../../.cache}/clients
missing() { echo "$*" >&2; exit 3; }

# For each language: what decides whether the packages are the right ones, how
# to install them into $folder, and whether the registry answers at all.
case ${1:-} in
    python | migration-python | litellm)
        oldest=
        compile=--compile
        case $1 in
            python)
                list=$here/python/requirements.txt
                # Who runs these keeps what is compiled (`interpreter` of tests/server): a fifth of the files.
                compile=--no-compile
                # Of what has changed since: the oldest versions that our package takes.
                oldest=$(sed -n -e 's/^fastapi = \["fastapi>=\([0-9.]*\),.*/fastapi==\1/p' \
                    -e 's/^dependencies = \["redis>=\([0-9.]*\),.*/redis==\1/p' \
                    "$here/../../src/clients/python/pyproject.toml")
                ;;
            migration-python) list=$here/../migration/requirements.txt ;;
            litellm) list=$here/litellm/requirements.txt ;;
        esac
        command -v python3 >/dev/null || missing "python3 is not installed"
        stamp() { python3 --version && cat "$list" && printf %s "$oldest"; }
        get() {
            python3 -m venv "$folder/venv" && binaries -r "$list" &&
                { [ "$1" != python ] || {
                    mapfile -t versions <<<"$oldest" &&
                        binaries --target "$folder/oldest" "${versions[@]}" && sources limits && sources Flask-Limiter
                }; }
        }
        binaries() {
            "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$compile" --only-binary :all: "$@"
        }
        # Of a package that comes with tests of its own.
        sources() {
            local wanted file
            # As the format of sources wants names.
            file=$(echo "$1" | tr 'A-Z-' 'a-z_')
            wanted=$(sed -n "s/^\($1==.*\)/\1/p" "$list") &&
                "$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
                    --no-binary "$1" --dest "$folder" "$wanted" &&
                mkdir -p "$folder/$1" &&
                tar -xzf "$folder"/"$file"-*.tar.gz -C "$folder/$1" --strip-components 1
        }
        answers() { "$folder/venv/bin/pip" download --quiet --no-deps --dest "$folder/probe" redis; }
        ;;
    python-package)
        list=$here/python/requirements.txt
        command -v python3 >/dev/null || missing "python3 is not installed"
        builder() { grep '^hatchling==' "$list"; }
        stamp() { python3 --version && builder; }
        get() {
            python3 -m venv "$folder/venv" &&
                "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "$(builder)"
        }
        answers() { "$folder/venv/bin/pip" download --quiet --no-deps --dest "$folder/probe" hatchling; }
        ;;
    node | migration-node)
        list=$here/node/package.json
        [ "$1" = node ] || list=$here/../migration/package.json
        command -v node >/dev/null && command -v npm >/dev/null || missing "node and npm are not installed"
        stamp() { node --version && cat "$list"; }
        get() {
            cp "$list" "$folder/" &&
                (cd "$folder" && npm install --loglevel=error --no-audit --no-fund --ignore-scripts)
        }
        answers() { npm view ioredis version; }
        ;;
    node-package)
        list=$here/../../src/clients/node
        command -v node >/dev/null && command -v npm >/dev/null || missing "node and npm are not installed"
        # Debian 12 has Node 18.
        [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] ||
            missing "the package for Node needs Node 20 or newer, and this is $(node --version)"
        stamp() { node --version && cat "$list/package-lock.json"; }
        get() {
            cp "$list/package.json" "$list/package-lock.json" "$folder/" &&
                (cd "$folder" && npm ci --loglevel=error --no-audit --no-fund --ignore-scripts)
        }
        answers() { npm view ioredis version; }
        ;;
    rust)
        list=$here/../../src/clients/rust
        command -v cargo >/dev/null || missing "cargo is not installed"
        stamp() { cat "$list/Cargo.lock"; }
        get() { cargo fetch --quiet --locked --manifest-path "$list/Cargo.toml"; }
        answers() { cargo info --quiet redis; }
        ;;
    *) echo "usage: tests/clients/install.sh python|node|rust|litellm|migration-python|migration-node|python-package|node-package" >&2; exit 2 ;;
esac

mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
folder=$cache/$1-$(stamp | sha256sum | cut -c 1-12)
log=$folder.log
# Tests run side by side: who comes second waits until the first has installed.
exec 9>"$folder.lock"
flock 9
if [ ! -e "$folder/installed" ]; then
    # Half an installation, of a run that was cut short, is none.
    rm -rf "$folder"
    mkdir -p "$folder"
    if ! get "$1" >"$log" 2>&1; then
        reason=$(tail -n 3 "$log")
        if answers >>"$log" 2>&1; then
            echo "the packages of $1 do not install: $reason" >&2
            exit 1
        fi
        missing "the packages of $1 cannot be had, see $log"
    fi
    touch "$folder/installed"
fi
echo "$folder"
