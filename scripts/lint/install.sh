#!/usr/bin/env bash
# Puts the linters of requirements.txt into .cache/lint, where no other program
# looks. Does nothing when they are there already.
set -euo pipefail

cd "$(dirname "$0")/../.."
wanted=scripts/lint/requirements.txt
there=$(realpath -m -- "${FLOODGATE_CACHE:-.cache}/lint")
# Python's programs have the path of their folder in them: in one that was moved they do not start.
cmp -s "$wanted" "$there/installed.txt" && [ "$(cat "$there/where.txt" 2>/dev/null)" = "$there" ] && exit

echo "lint: installing the linters into $there" >&2
rm -rf "$there"
python3 -m venv "$there"
# Only packages that are built already: others would fetch programs from elsewhere.
"$there/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$wanted"
echo "$there" >"$there/where.txt"
cp "$wanted" "$there/installed.txt"
