#!/usr/bin/env bash
# Installs what is missing on a Debian machine that has Rust's toolchain.
# Safe to run again: when all is there it changes nothing and takes no time.
#
#   scripts/setup.sh           what building and running need
#   scripts/setup.sh demo      and what the demonstration needs
#   scripts/setup.sh bench     and what the benchmark needs
#   scripts/setup.sh test      and what the tests and linters need
#   scripts/setup.sh servers   and what scripts/servers.sh needs
#   scripts/setup.sh monitor   and what watches a server
#   scripts/setup.sh torture   and what scripts/torture.sh needs
#   scripts/setup.sh package   and what building packages needs
#   scripts/setup.sh images    and what scripts/images/test.sh needs
set -euo pipefail

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Debian's administration commands are not on every user's PATH.
PATH="$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

can_install() {
    have apt-get || fail "please install by hand what Debian calls: $*"
    [ "$(id -u)" -eq 0 ] || have sudo || fail "please run this as root, or install sudo: missing are $*"
}

install() {
    can_install "$@"
    say "installing $*"
    local log
    log=$(mktemp)
    # The lists of packages may be missing or old: fetch them once.
    if ! { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive \
           apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1; then
        cat "$log" >&2
        fail "could not install $*"
    fi
    rm -f "$log"
}

# As install, of packages that bring services: those neither start now nor with
# the machine, for only their programs are used.
install_without_services() {
    local policy=/usr/sbin/policy-rc.d
    can_install "$@"
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    install "$@"
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --quiet "$@" || say "these services may start with the machine: $*"
    fi
}

has_libclang() {
    # As bindgen looks for it; the headers beside it are the compiler's own.
    # libclang-cpp, which other packages bring, is another library.
    [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null ||
        compgen -G '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' >/dev/null
}

is_server() {
    have redis-server && redis-server --version 2>/dev/null | grep -q 'server v='
}

mode=${1:-run}
case $mode in
    run | demo | bench | test | servers | monitor | torture | package | images) ;;
    *) fail "unknown mode '$mode': none, demo, bench, test, servers, monitor, torture, package or images" ;;
esac

have cargo || fail "Rust is missing: install it with rustup, then run this again"

packages=()
have cc || packages+=(gcc libc6-dev)
has_libclang || packages+=(libclang-dev)
# The package redis-server adds nothing to redis-tools but a service on port
# 6379 and the server's name: the program itself is in redis-tools. So no
# service is installed, and nothing ever listens unasked.
is_server && have redis-cli || packages+=(redis-tools)
if [ "$mode" != run ]; then
    have python3 || packages+=(python3)
fi
if [ "$mode" = bench ]; then
    # The libraries that it measures come from PyPI and npm, redis-benchmark from
    # redis-tools, and other servers as scripts/servers.sh has them; callgrind counts
    # what must not grow.
    have taskset || packages+=(util-linux)
    have node && have npm || packages+=(nodejs npm)
    have valgrind || packages+=(valgrind)
    python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
fi
if [ "$mode" = test ] || [ "$mode" = servers ] || [ "$mode" = torture ]; then
    have setpriv || packages+=(util-linux)
    # Debian's Python cannot make environments without it; the recipes need one.
    python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
    # Certificates for a Redis that speaks TLS.
    have openssl || packages+=(openssl)
fi
if [ "$mode" = test ]; then
    # Looks at the page of the service for Python.
    have chromium || packages+=(chromium)
    # The clients of src/clients/OTHER-LANGUAGES.md: 10 MB, and 81 MB for Go.
    php -r 'exit((int) !extension_loaded("redis"));' 2>/dev/null || packages+=(php-cli php-redis)
    ruby -e 'require "redis"' 2>/dev/null || packages+=(ruby ruby-redis)
    perl -MRedis -e 1 2>/dev/null || packages+=(libredis-perl)
    [ -e /usr/include/hiredis/hiredis.h ] || packages+=(libhiredis-dev)
    have go || packages+=(golang-go)
    [ -d /usr/share/gocode/src/github.com/gomodule/redigo ] || packages+=(golang-github-gomodule-redigo-dev)
fi
if [ "$mode" = servers ] || [ "$mode" = torture ] || [ "$mode" = bench ]; then
    have python3 && python3 -m pip --version >/dev/null 2>&1 || packages+=(python3 python3-pip)
    have flock || packages+=(util-linux)
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || packages+=(debian-archive-keyring)
fi
if [ "$mode" = images ]; then
    have buildah || packages+=(buildah)
    have debootstrap || packages+=(debootstrap)
    have docker-compose || packages+=(docker-compose)
    have musl-gcc || packages+=(musl-tools)
    have qemu-aarch64-static || packages+=(qemu-user-static)
    have make || packages+=(make)
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || packages+=(debian-archive-keyring)
    python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
fi
services=()
if [ "$mode" = test ] || [ "$mode" = monitor ]; then
    have promtool || services+=(prometheus)
    have amtool || services+=(prometheus-alertmanager)
fi
if [ "$mode" = monitor ]; then
    have npm || packages+=(nodejs npm)
    have prometheus-redis-exporter || services+=(prometheus-redis-exporter)
fi
if [ "$mode" = torture ]; then
    have valgrind || packages+=(valgrind)
fi
[ ${#packages[@]} -eq 0 ] || install "${packages[@]}"
[ ${#services[@]} -eq 0 ] || install_without_services "${services[@]}"

if ! is_server; then
    program=$(command -v redis-check-rdb) || fail "redis-tools brought no redis-check-rdb"
    [ "$(id -u)" -eq 0 ] || have sudo || fail "please run this as root, or install sudo, to name the server"
    say "naming the server: /usr/local/bin/redis-server"
    as_root mkdir -p /usr/local/bin
    as_root ln -sfn "$program" /usr/local/bin/redis-server
    hash -r
    is_server || fail "$program is not the server on this system: please install redis-server by hand"
fi

if [ "$mode" = test ] || [ "$mode" = servers ] || [ "$mode" = torture ]; then
    for component in rustfmt clippy; do
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
        say "adding $component to the toolchain"
        rustup component add "$component" || fail "could not add $component"
    done
fi

if [ "$mode" = test ]; then
    "$(dirname "$0")/lint/install.sh" || fail "could not install the linters"
    "$(dirname "$0")/envoy.sh" >/dev/null || fail "could not install Envoy"
fi
