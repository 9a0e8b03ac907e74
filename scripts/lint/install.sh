#!/usr/bin/env bash
# Puts the linters of requirements.txt into .cache/lint, where no other program
# looks. Does nothing when they are there already.
set -euo pipefail

cd "$(dirname "$0")/../.."
wanted=scripts/lint/requirements.txt
there=${FLOODGATE_CACHE:-.cache}/lint
cmp -s "$wanted" "$there/installed.txt" && exit

echo "lint: installing the linters into $there" >&2
rm -rf "$there"
python3 -m venv "$there"
# Only packages that are built already: others would fetch programs from elsewhere.
"$there/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$wanted"
cp "$wanted" "$there/installed.txt"
