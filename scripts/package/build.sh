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
# shellcheck source=scripts/package/staging.sh
source "$(dirname "$0")/staging.sh"
stage "$2"

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

control "$root/usr/lib/redis/modules/libfloodgate.so" floodgate database \
    'redis-server (>= 5:6.2) | valkey-server' <<'DESCRIPTION'
rate limits and circuit breakers as native commands of Redis
 A module for Redis 6.2 to 8 and Valkey 8 and 9: rate limits, quotas, waiting
 lines, reservations and circuit breakers as atomic commands of the server.
 .
 To load it, add the line
 "loadmodule /usr/lib/redis/modules/libfloodgate.so" to the server's own
 configuration file (redis.conf or valkey.conf) and start the server again.
DESCRIPTION
echo /etc/redis/floodgate.conf >"$root/DEBIAN/conffiles"
deb floodgate

name=floodgate-$version-$arch
mkdir "$work/$name"
cp -p "$root/usr/lib/redis/modules/libfloodgate.so" "$work/$name"
cp CHANGELOG.md LICENSE "${pages[@]/#/$doc/}" "$doc/sbom.cdx.json" "$work/$name"
# Unpacked anywhere: whoever unpacks it puts the folder in.
sed 's|/usr/lib/redis/modules/|/path/to/|' scripts/package/floodgate.conf >"$work/$name/floodgate.conf"
archive "$name"

cp "$doc/sbom.cdx.json" "$out/$name.cdx.json"
echo "$out/$name.cdx.json"
