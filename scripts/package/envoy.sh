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
# shellcheck source=scripts/package/staging.sh
source "$(dirname "$0")/staging.sh"
stage "$2"
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

control "$root/usr/bin/floodgate-envoy" floodgate-envoy net floodgate <<'DESCRIPTION'
rate limit service for Envoy, with Floodgate's decisions
 Answers the rate limit requests of Envoy (RLS v3) with the limits of a Redis or
 Valkey that has the module floodgate. Reads the configuration of
 envoyproxy/ratelimit.
 .
 To start it: "systemctl enable --now floodgate-envoy".
DESCRIPTION
printf '%s\n' /etc/floodgate-envoy/limits.yaml /etc/default/floodgate-envoy >"$root/DEBIAN/conffiles"
for script in prerm postinst; do
    install -m 755 "scripts/package/floodgate-envoy.$script" "$root/DEBIAN/$script"
done
deb floodgate-envoy

name=floodgate-envoy-$version-$arch
mkdir "$work/$name"
cp -p "$root/usr/bin/floodgate-envoy" "$work/$name"
cp "$doc/README.md" LICENSE "$doc/sbom.cdx.json" scripts/package/floodgate-envoy.service "$work/$name"
cp -r "$from/example" "$work/$name/example"
archive "$name"

cp "$doc/sbom.cdx.json" "$out/$name.cdx.json"
echo "$out/$name.cdx.json"
