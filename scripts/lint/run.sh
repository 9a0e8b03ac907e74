#!/usr/bin/env bash
# Checks what the Rust compiler does not read: shell and Python scripts, the files
# for GitHub, and the dependencies. Takes some seconds.
#
#   scripts/setup.sh test && scripts/lint/run.sh
#
# The advisories about dependencies need a database from elsewhere: `make advisories`, which
# `.github/workflows/nightly.yml` runs.
set -euo pipefail

cd "$(dirname "$0")/../.."
PATH="$(cd "${FLOODGATE_CACHE:-.cache}/lint/bin" && pwd):$PATH"

failed=()
check() {
    local name=$1
    shift
    "$@" || failed+=("$name")
}

mapfile -t scripts < <(git grep -lE '^#!.*\b(ba)?sh$' -- '*.sh' .ci scripts/package)
check shellcheck shellcheck -x "${scripts[@]}"
check ruff ruff check --quiet scripts src/clients tests
check 'ruff format' ruff format --check --quiet scripts
check actionlint actionlint
check 'issue forms' check-jsonschema --quiet --builtin-schema vendor.github-issue-forms \
    .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
check 'issue pages' check-jsonschema --quiet --builtin-schema vendor.github-issue-config \
    .github/ISSUE_TEMPLATE/config.yml
check dependabot check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
check compose check-jsonschema --quiet --builtin-schema vendor.compose-spec scripts/images/compose.yaml
check dependencies python3 scripts/lint/dependencies.py
check cargo-deny cargo-deny --all-features --locked check --hide-inclusion-graph bans licenses sources

[ ${#failed[@]} -eq 0 ] || { echo "lint: failed: ${failed[*]}" >&2; exit 1; }
