#!/usr/bin/env bash
# Builds the packages of a library that is already built:
#
#   scripts/package/build.sh LIBRARY FOLDER
#
# writes FOLDER/floodgate_VERSION-1_ARCH.deb, FOLDER/floodgate-VERSION-ARCH.tar.gz
# and FOLDER/floodgate-VERSION-ARCH.cdx.json, the bill of materials, which is in both
# packages, too. Needs dpkg-deb and nothing else of Debian's packaging tools. The same
# library gives the same bytes: times are those of the last commit, or
# SOURCE_DATE_EPOCH.
set -euo pipefail

[ $# -eq 2 ] || { echo "package: usage: scripts/package/build.sh LIBRARY FOLDER" >&2; exit 2; }
library=$(realpath -- "$1")
mkdir -p -- "$2"
out=$(realpath -- "$2")
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
arch=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
# Who builds names himself as with Debian's own tools, and where the project is.
maintainer="${DEBFULLNAME:-Floodgate} <${DEBEMAIL:-floodgate@localhost}>"
homepage=${FLOODGATE_HOMEPAGE:-$(sed -n 's/^homepage = "\(.*\)"/\1/p' Cargo.toml)}
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

# Where Debian's own modules of Redis are. The server loads only what may be
# executed.
install -D -m 755 "$library" "$root/usr/lib/redis/modules/libfloodgate.so"
strip --strip-unneeded "$root/usr/lib/redis/modules/libfloodgate.so"
install -D -m 644 scripts/package/floodgate.conf "$root/etc/redis/floodgate.conf"
doc=$root/usr/share/doc/floodgate
install -D -m 644 LICENSE "$doc/copyright"
# Links to what is not in the package become text. Pictures go.
pages=(README.md COMMANDS.md OPERATIONS.md SECURITY.md)
install -D -m 644 "${pages[@]}" -t "$doc"
away='(src|tests|scripts|BENCHMARKS|CHANGELOG|CONTRIBUTING)[^)]*'
(cd "$doc" && sed -Ezi "s/!\[[^]]*\]\($away\)\n?//g; s/\[([^]]*)\]\($away\)/\1/g" "${pages[@]}")
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
gzip -9n >"$doc/changelog.Debian.gz" <<CHANGELOG
floodgate ($version-1) unstable; urgency=medium

  * What is new is in changelog.gz.

 -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
CHANGELOG

scripts/package/sbom.py floodgate >"$doc/sbom.cdx.json"
chmod 644 "$doc/sbom.cdx.json"

# The oldest C library that has every symbol it asks for.
libc=$(grep -ao 'GLIBC_2\.[0-9]*' "$root/usr/lib/redis/modules/libfloodgate.so" | sort -uV | tail -n 1)
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: floodgate
Version: $version-1
Architecture: $arch
Maintainer: $maintainer
Section: database
Priority: optional
${homepage:+Homepage: $homepage
}Depends: libc6 (>= ${libc#GLIBC_}), libgcc-s1
Suggests: redis-server (>= 5:6.2) | valkey-server
Installed-Size: $(du -sk --exclude DEBIAN "$root" | cut -f 1)
Description: rate limits and circuit breakers as native commands of Redis
 A module for Redis 6.2 to 8 and Valkey 8 and 9: rate limits, quotas, waiting
 lines, reservations and circuit breakers as atomic commands of the server.
 .
 To load it, add the line
 "loadmodule /usr/lib/redis/modules/libfloodgate.so" to the server's own
 configuration file (redis.conf or valkey.conf) and start the server again.
CONTROL
echo /etc/redis/floodgate.conf >"$root/DEBIAN/conffiles"
(cd "$root" && find etc usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
chmod 644 "$root"/DEBIAN/*

deb=$out/floodgate_$version-1_$arch.deb
dpkg-deb --build --root-owner-group -Zxz "$root" "$deb" >/dev/null

name=floodgate-$version-$arch
mkdir "$work/$name"
cp -p "$root/usr/lib/redis/modules/libfloodgate.so" "$work/$name"
cp CHANGELOG.md LICENSE "${pages[@]/#/$doc/}" "$doc/sbom.cdx.json" "$work/$name"
# Unpacked anywhere: whoever unpacks it puts the folder in.
sed 's|/usr/lib/redis/modules/|/path/to/|' scripts/package/floodgate.conf >"$work/$name/floodgate.conf"
tar=$out/$name.tar.gz
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" |
    gzip -9n >"$tar"

cp "$doc/sbom.cdx.json" "$out/$name.cdx.json"
printf '%s\n' "$deb" "$tar" "$out/$name.cdx.json"
