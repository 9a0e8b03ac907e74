#!/usr/bin/env bash
# Builds the packages of a floodgate-envoy that is already built:
#
#   scripts/package/envoy.sh PROGRAM FOLDER
#
# writes FOLDER/floodgate-envoy_VERSION-1_ARCH.deb,
# FOLDER/floodgate-envoy-VERSION-ARCH.tar.gz and
# FOLDER/floodgate-envoy-VERSION-ARCH.cdx.json, as build.sh does for the module.
set -euo pipefail

[ $# -eq 2 ] || { echo "package: usage: scripts/package/envoy.sh PROGRAM FOLDER" >&2; exit 2; }
program=$(realpath -- "$1")
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
from=src/bin/envoy

install -D -m 755 "$program" "$root/usr/bin/floodgate-envoy"
strip --strip-unneeded "$root/usr/bin/floodgate-envoy"
install -D -m 644 "$from/example/limits.yaml" "$root/etc/floodgate-envoy/limits.yaml"
install -D -m 644 scripts/package/floodgate-envoy.default "$root/etc/default/floodgate-envoy"
install -D -m 644 scripts/package/floodgate-envoy.service -t "$root/usr/lib/systemd/system"
doc=$root/usr/share/doc/floodgate-envoy
install -D -m 644 LICENSE "$doc/copyright"
install -D -m 644 "$from/README.md" -t "$doc"
# Links to what is not in the package become text.
sed -Ezi 's/\[([^]]*)\]\(\.\.[^)]*\)/\1/g' "$doc/README.md"
install -D -m 644 "$from/example/envoy.yaml" -t "$doc/example"
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
scripts/package/sbom.py floodgate-envoy envoy >"$doc/sbom.cdx.json"
chmod 644 "$doc/sbom.cdx.json"

libc=$(grep -ao 'GLIBC_2\.[0-9]*' "$root/usr/bin/floodgate-envoy" | sort -uV | tail -n 1)
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: floodgate-envoy
Version: $version-1
Architecture: $arch
Maintainer: $maintainer
Section: net
Priority: optional
${homepage:+Homepage: $homepage
}Depends: libc6 (>= ${libc#GLIBC_}), libgcc-s1
Suggests: floodgate
Installed-Size: $(du -sk --exclude DEBIAN "$root" | cut -f 1)
Description: rate limit service for Envoy, with Floodgate's decisions
 Answers the rate limit requests of Envoy (RLS v3) with the limits of a Redis or
 Valkey that has the module floodgate. Reads the configuration of
 envoyproxy/ratelimit.
 .
 To start it: "systemctl enable --now floodgate-envoy".
CONTROL
printf '%s\n' /etc/floodgate-envoy/limits.yaml /etc/default/floodgate-envoy >"$root/DEBIAN/conffiles"
(cd "$root" && find etc usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
chmod 644 "$root"/DEBIAN/*

deb=$out/floodgate-envoy_$version-1_$arch.deb
dpkg-deb --build --root-owner-group -Zxz "$root" "$deb" >/dev/null

name=floodgate-envoy-$version-$arch
mkdir "$work/$name"
cp -p "$root/usr/bin/floodgate-envoy" "$work/$name"
cp "$doc/README.md" LICENSE "$doc/sbom.cdx.json" scripts/package/floodgate-envoy.service "$work/$name"
cp -r "$from/example" "$work/$name/example"
tar=$out/$name.tar.gz
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" |
    gzip -9n >"$tar"

cp "$doc/sbom.cdx.json" "$out/$name.cdx.json"
printf '%s\n' "$deb" "$tar" "$out/$name.cdx.json"
