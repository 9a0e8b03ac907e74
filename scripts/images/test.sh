#!/usr/bin/env bash
# Builds the images of scripts/images and tries them, as root, without a daemon:
#
#   scripts/images/test.sh CONTEXT
#
# CONTEXT is what scripts/images/context.sh gathered. buildah builds with chroot as
# its isolation; the server's image stands on a Debian with redis-server, made by
# debootstrap, in place of the official ones, which come from a registry. What is
# tried: RL.ACQUIRE in the server's image, a library taken by COPY --from and by the
# init container, compose.yaml by `docker-compose config`, the StatefulSet by the
# schema of Kubernetes' API, the bills of materials by CycloneDX' own; and, where
# `make libraries` has built them, the library for musl in a server built with musl,
# and that for arm64 under qemu.
set -euo pipefail

fail() { echo "images: $*" >&2; exit 1; }
[ $# -eq 1 ] || { echo "images: usage: scripts/images/test.sh CONTEXT" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || fail "buildah needs root here: run this with sudo"
context=$(realpath -- "$1")
cd "$(dirname "$0")/../.."
here=$PWD/scripts/images
work=$(mktemp -d /var/tmp/images.XXXXXX)
venv=${FLOODGATE_CACHE:-$PWD/.cache}/images
pids=()

stop() {
    local pid
    for pid in "${pids[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
}

end() {
    local status=$?
    buildah_ rm --all >/dev/null 2>&1 || true
    rm -rf --one-file-system "$work"
    [ "$status" -eq 0 ] && echo 'images: PASSED' || echo 'images: FAILED'
    exit "$status"
}
trap end EXIT

buildah_() {
    buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"
}

step() {
    local name=$1 began=$SECONDS
    shift
    # In a shell of its own, so that it ends at the first command that fails. The
    # servers that it began end with it.
    set +e
    (set -e; trap stop EXIT; "$@") >"$work/step.log" 2>&1
    local status=$?
    set -e
    [ "$status" -eq 0 ] || { cat "$work/step.log" >&2; fail "$name"; }
    printf '%-66s %4s s\n' "$name" $((SECONDS - began))
}

image() {
    local file=$1 tag=$2
    shift 2
    buildah_ bud --isolation chroot --file "$file" --tag "localhost/$tag" "$@" "$context"
}

# Begins a command in the background, in a process group of its own.
begin() {
    setsid "$@" >"$work/server.log" 2>&1 &
    pids+=($!)
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Waits for the server on a port and asks it for the first unit. Then makes the
# library panic, where asked to: that unwinds to an error reply, and the server goes on.
asks() {
    local reply
    for _ in {1..100}; do
        [ "$(redis-cli -p "$1" PING 2>/dev/null)" = PONG ] && break
        sleep 0.2
    done
    reply=$(redis-cli -p "$1" RL.ACQUIRE user:42 10/s,1000/h | tr '\n' ' ')
    [ "$reply" = '1 10 9 0 1000 0 ' ] || { cat "$work/server.log"; echo "replied: $reply"; return 1; }
    [ -z "${2:-}" ] || redis-cli -p "$1" RL.DEBUG PANIC | grep 'internal error in floodgate'
    [ "$(redis-cli -p "$1" RL.RESERVE 1 llm 1000/m,concurrent:2 COST 5 TTL 10s ID a | head -n 1)" = a ]
    redis-cli -p "$1" SHUTDOWN NOSAVE || true
}

# The official images' own rule: what begins with a dash is for the server.
base() {
    debootstrap --variant=minbase --include=redis-server bookworm "$work/root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
    rm -rf "$work"/root/var/cache/apt/* "$work"/root/usr/share/{doc,locale,man}
    cat >"$work/root/entrypoint" <<'ENTRYPOINT'
#!/bin/sh
case $1 in -*) set -- redis-server "$@" ;; esac
exec "$@"
ENTRYPOINT
    chmod 755 "$work/root/entrypoint"
    local container
    container=$(buildah_ from scratch)
    buildah_ add "$container" "$work/root" /
    buildah_ config --entrypoint '["/entrypoint"]' "$container"
    buildah_ commit "$container" localhost/base
    buildah_ rm "$container"
    rm -rf "$work/root"
}

# Runs an image as it says itself, with more arguments behind.
runs() {
    local container port words
    port=$(free_port)
    container=$(buildah_ from --pull-never "localhost/$1")
    mapfile -t words < <(buildah_ inspect --type image --format \
        '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}{{range .OCIv1.Config.Cmd}}{{println .}}{{end}}' "localhost/$1")
    begin buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs \
        run --isolation chroot "$container" -- "${words[@]}" --port "$port" --save ''
    asks "$port"
}

copies_from_the_library() {
    cat >"$work/Dockerfile" <<'DOCKERFILE'
FROM localhost/base
COPY --from=localhost/floodgate /libfloodgate.so /usr/lib/redis/modules/
CMD ["--loadmodule", "/usr/lib/redis/modules/libfloodgate.so"]
DOCKERFILE
    image "$work/Dockerfile" copied && runs copied
}

# As an init container: the image's own user, and a volume.
init_container() {
    local container
    mkdir -m 777 "$work/modules"
    container=$(buildah_ from --pull-never localhost/floodgate)
    buildah_ run --isolation chroot --volume "$work/modules:/modules" "$container" -- /copy /modules
    cmp "$work/modules/libfloodgate.so" "$context/libfloodgate.so"
    [ "$(stat -c %a "$work/modules/libfloodgate.so")" = 755 ]
    ! buildah_ run --isolation chroot "$container" -- /copy /nowhere
}

compose() {
    docker-compose -f "$here/compose.yaml" config --quiet
    # Every file that it mounts is there; secrets are the operator's own.
    docker-compose -f "$here/compose.yaml" config |
        sed -n 's|^ *- \(/[^:]*\):/.*|\1|p' | grep -v '/secrets$' | while IFS= read -r path; do
            [ -e "$path" ] || { echo "compose.yaml mounts $path, which is not there"; exit 1; }
        done
}

checkers() {
    cmp -s "$here/requirements.txt" "$venv/installed.txt" && return
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/installed.txt"
}

kubernetes() {
    "$venv/bin/kubernetes-validate" --strict "$here/kubernetes/statefulset.yaml"
}

bills() {
    local bill
    for bill in 'floodgate' 'floodgate-envoy envoy'; do
        # shellcheck disable=SC2086 # a name and its features
        scripts/package/sbom.py $bill >"$work/bill.json"
        "$venv/bin/python" - "$work/bill.json" <<'PYTHON'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read()) or 0)
PYTHON
    done
}

# on_another_system SERVER LIBRARY: the library answers in that server of scripts/servers.sh.
on_another_system() {
    local server port
    server=$(scripts/servers.sh fetch "$1" | awk '{ print $3 }')
    port=$(free_port)
    begin "$server" --port "$port" --save '' --loadmodule "$context/$2" enable-debug-command yes
    asks "$port" and-panics
}

step 'the programs that check the files' checkers
step 'bills of materials: the schema of CycloneDX 1.5' bills
step 'compose.yaml: docker-compose config (it is not run here)' compose
step 'statefulset.yaml: the schema of Kubernetes (it is not run here)' kubernetes
step 'a Debian with redis-server, in place of the official image' base
step 'the image of the library' image "$here/library.Dockerfile" floodgate
step 'the image of the server' image "$here/server.Dockerfile" server --build-arg SERVER=localhost/base
step 'RL.ACQUIRE in the image of the server' runs server
step 'COPY --from the image of the library, and RL.ACQUIRE' copies_from_the_library
step 'the init container copies the library into a volume' init_container
[ ! -e "$context/libfloodgate-x86_64-musl.so" ] || step 'the library for musl, in a server built with musl' \
    on_another_system redis-7.0-musl libfloodgate-x86_64-musl.so
[ ! -e "$context/libfloodgate-aarch64-gnu.so" ] || step 'the library for arm64, in a server under qemu' \
    on_another_system redis-7.0-arm64 libfloodgate-aarch64-gnu.so
