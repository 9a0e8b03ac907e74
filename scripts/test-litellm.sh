#!/usr/bin/env bash
# Runs tests/clients/litellm: the plug-in for LiteLLM in LiteLLM itself, its proxy in two
# processes, on a real server.
#
#   scripts/test-litellm.sh [arguments of pytest]
#
# FLOODGATE_MODULE is the library to load, that of the development build by default, which
# is then built; FLOODGATE_SERVER the server. Installs LiteLLM in .cache, about 500 MB with
# all that its proxy needs.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${FLOODGATE_MODULE:-}" ]; then
    # Words of a variable of make, none or one.
    # shellcheck disable=SC2086
    cargo build --lib ${LOCKED:-}
    FLOODGATE_MODULE=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/libfloodgate.so
fi
export FLOODGATE_MODULE
folder=$(tests/clients/install.sh litellm)
# LiteLLM would ask the network for prices.
export LITELLM_LOCAL_MODEL_COST_MAP=True PYTHONPATH=$PWD/src/clients/python
"$folder/venv/bin/python" -B -m pytest -q --disable-warnings -p no:cacheprovider "${@:-tests/clients/litellm}"
