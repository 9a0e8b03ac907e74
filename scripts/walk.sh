#!/usr/bin/env bash
# A newcomer's walk: what README, OPERATIONS.md and src/clients/README.md say, done
# in a Debian root that has nothing but the base system and rustup's folders.
#
#   scripts/walk.sh              each step with its time; the root is removed afterwards
#   WALK_TEST=1 scripts/walk.sh  and README's second command, make test
#   WALK_ROOT=/path scripts/walk.sh  keeps the root there
#   WALK_ROOT=/path WALK_FROM='make package' scripts/walk.sh
#                                in a root that was kept, from that step on
#
# Needs root and debootstrap. The root shares the machine's network: PORT (6379)
# must be free. It walks the last commit, as a clone would.
set -euo pipefail

# In a mount namespace of its own: what it mounts nobody else sees, and no umount
# reaches the machine's own /dev.
if [ -z "${WALK_NAMESPACE:-}" ] && [ "$(id -u)" -eq 0 ]; then
    WALK_NAMESPACE=1 exec unshare --mount --propagation private "$BASH" "$0" "$@"
fi
cd "$(dirname "$0")/.."

fail() { echo "walk: $*" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || fail "a root of its own needs root: run this with sudo"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
port=${PORT:-6379}
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    fail "port $port is taken: PORT=6390 scripts/walk.sh"
fi
source=$(pwd)
root=${WALK_ROOT:-$(mktemp -d /var/tmp/walk.XXXXXX)}
mkdir -p "$root"
cargo_home=${CARGO_HOME:-$HOME/.cargo}
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
steps=()

end() {
    local status=$?
    for pid in "$root"/*.pid; do [ ! -e "$pid" ] || kill -- "-$(cat "$pid")" 2>/dev/null || true; done
    sleep 1
    for at in root/.cargo root/.rustup proc dev; do
        if mountpoint -q "$root/$at"; then umount --recursive --lazy "$root/$at"; fi
    done
    [ -n "${WALK_ROOT:-}" ] || rm -rf --one-file-system "$root" "$root.log"
    printf '\n%-62s %8s\n' 'step' 'seconds'
    for step in "${steps[@]}"; do printf '%-62s %8s\n' "${step%|*}" "${step##*|}"; done
    [ "$status" -eq 0 ] && echo 'walk: PASSED' || echo 'walk: FAILED'
    exit "$status"
}
trap end EXIT

# A shell in the root, as the newcomer has it. The machine's certificates, for
# whoever sits behind a proxy that has its own.
inside() {
    env -i PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LC_ALL=C.UTF-8 TERM=dumb PORT="$port" \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        SSL_CERT_FILE=/certificates.crt PIP_CERT=/certificates.crt CARGO_HTTP_CAINFO=/certificates.crt \
        NODE_EXTRA_CA_CERTS=/certificates.crt GIT_SSL_CAINFO=/certificates.crt \
        REQUESTS_CA_BUNDLE=/certificates.crt \
        chroot "$root" bash -euo pipefail -c "cd /root; [ ! -d floodgate ] || cd floodgate; $1"
}

# A step by its name, timed; what it prints is shown when it fails.
step() {
    local name=$1 began=$SECONDS log=$root.log
    shift
    [[ $name == "${WALK_FROM:-}"* ]] || return 0
    WALK_FROM=
    echo "+ $name"
    # In a shell of its own, so that it ends at the first command that fails.
    set +e
    (set -e; "$@") >"$log" 2>&1
    local status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        tail -n 40 "$log" >&2
        steps+=("$name: FAILED|$((SECONDS - began))")
        exit 1
    fi
    steps+=("$name|$((SECONDS - began))")
}

clean_root() {
    debootstrap --variant=minbase "${WALK_SUITE:-bookworm}" "$root"
    # A worktree's repository stands elsewhere; a clone of it is enough to clone from.
    git clone --quiet --bare . "$root/source.git"
}

# What the root shares with the machine.
mounts() {
    mkdir -p "$root"/root/.cargo "$root"/root/.rustup
    mount --bind "$cargo_home" "$root/root/.cargo"
    mount --bind "$rustup_home" "$root/root/.rustup"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp /etc/ssl/certs/ca-certificates.crt "$root/certificates.crt"
}

# Runs a command until it is stopped: `starts NAME COMMAND LINE` returns when it
# prints that line.
starts() {
    # What an earlier one said is no sign of this one.
    : >"$root/$1.log"
    # A shell gives what it puts in the background no Ctrl-C: here it gets it back.
    env --default-signal=INT setsid "$BASH" -c "$(declare -f inside); root=$root port=$port; inside '$2'" >"$root/$1.log" 2>&1 &
    echo $! >"$root/$1.pid"
    for _ in {1..6000}; do
        grep -q "$3" "$root/$1.log" && return
        kill -0 "$(cat "$root/$1.pid")" 2>/dev/null || break
        sleep 0.2
    done
    cat "$root/$1.log"
    return 1
}

stops() {
    kill -INT -- "-$(cat "$root/$1.pid")"
    for _ in {1..100}; do
        kill -0 -- "-$(cat "$root/$1.pid")" 2>/dev/null || { rm "$root/$1.pid"; return; }
        sleep 0.2
    done
    return 1
}

first_reply() {
    local reply
    reply=$(inside "redis-cli -p $port RL.ACQUIRE user:42 10/s,1000/h" | tr '\n' ' ')
    echo "$reply"
    [ "$reply" = '1 10 9 0 1000 0 ' ]
    inside "redis-cli -p $port RL.HELP RL.ACQUIRE" | grep RL.ACQUIRE
}

# Each is refused, and the error names what was wrong.
wrong_inputs() {
    local line wanted
    while IFS='|' read -r line wanted; do
        inside "redis-cli -p $port $line" </dev/null | tee /dev/stderr | grep -F "$wanted"
    done <<'INPUTS'
RL.ACQUIRE user:42|no limits for this key
RL.ACQUIRE 10/s user:42|user
RL.ACQUIRE user:42 100/|missing period
RL.ACQUIRE user:42 10/s COST=2|COST
RL.BLOCK user:42 30s|FOR
CB.REPORT pay SUCCESS|OK, FAIL
INPUTS
}

own_library() {
    awk '/^```python$/ { open = 1; next } /^```$/ { if (open) exit } open' "$source/src/clients/README.md" >"$root/root/first.py"
    inside "cd /root && python3 -m venv .venv && .venv/bin/pip install --quiet redis &&
        REDIS_URL=redis://localhost:$port .venv/bin/python first.py" | grep -E 'left|again in'
}

own_crate() {
    inside "REDIS_URL=redis://localhost:$port scripts/first-request.sh rust" | grep 'from an empty folder'
}

dashboard() {
    starts monitor 'make monitor' 'Ctrl-C ends them'
    local address
    address=$(sed -n 's/^prometheus *\(http[^ ]*\)$/\1/p' "$root/monitor.log")
    for _ in {1..100}; do
        if inside "python3 -c 'import urllib.request as u; print(u.urlopen(\"${address}api/v1/label/__name__/values\").read().decode())'" |
            grep -q floodgate_acquire_granted; then
            stops monitor
            return
        fi
        sleep 1
    done
    return 1
}

package() {
    inside 'make package && apt-get install -y ./target/packages/floodgate_*.deb'
    printf '%s\n' "port $port" 'dir /root' 'appendonly yes' 'aof-use-rdb-preamble no' \
        'loadmodule /usr/lib/redis/modules/libfloodgate.so' >"$root/root/redis.conf"
    starts server 'redis-server /root/redis.conf' 'Ready to accept connections'
    inside "redis-cli -p $port MODULE LIST" | grep floodgate
    inside "redis-cli -p $port RL.ACQUIRE user:42 10/s,1000/h"
}

# Debian 12 has Redis 7.0: the way for servers before 7.2.
removal() {
    inside "redis-cli -p $port SET mine kept; redis-cli -p $port RL.CLEAR 0 COUNT 1000
        redis-cli -p $port BGREWRITEAOF; sleep 2; redis-cli -p $port SHUTDOWN SAVE"
    sleep 1
    rm "$root/server.pid"
    sed -i '/^loadmodule/d' "$root/root/redis.conf"
    starts server 'redis-server /root/redis.conf' 'Ready to accept connections'
    [ "$(inside "redis-cli -p $port GET mine")" = kept ]
    stops server
    inside 'apt-get purge -y floodgate && [ ! -e /usr/lib/redis/modules/libfloodgate.so ]'
}

step 'a clean root (no step of the newcomer)' clean_root
mounts
step 'apt-get install git make' inside 'apt-get update && apt-get install -y git make'
step 'git clone' inside 'git clone --quiet /source.git floodgate'
step 'make run, until it says how to try it' starts server 'make run' 'Floodgate is ready'
step 'the first reply' first_reply
step 'six wrong inputs: each error names the way out' wrong_inputs
step 'apt-get install python3-venv' inside 'apt-get install -y python3-venv'
step 'the first limited request in Python' own_library
step 'the first limited request in Rust, from an empty folder' own_crate
step 'make monitor, until the dashboard has data' dashboard
step 'stop the server' stops server
step 'make package, install it, load it by redis.conf' package
step 'remove it: the data loads without, the package is gone' removal
[ -z "${WALK_TEST:-}" ] || step 'make test' inside 'make test'
