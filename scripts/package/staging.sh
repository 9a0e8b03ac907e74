# shellcheck shell=bash
# What build.sh and envoy.sh share: a root in which the files of a package are staged, and the
# archives that are made of it. Sourced; what it sets is used there.

# stage FOLDER: sets $version, $arch, $maintainer, $homepage, $out (FOLDER), $work (gone at the
# end) and $root, the root of the package, and goes to the folder of the project.
stage() {
    mkdir -p -- "$1"
    out=$(realpath -- "$1")
    cd "$(dirname "${BASH_SOURCE[0]}")/../.."
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
}

# control PROGRAM PACKAGE SECTION SUGGESTS: writes the control file of the package, whose description
# it reads from its input.
# It depends on the oldest C library that has every symbol that the program asks for.
control() {
    local program=$1 package=$2 section=$3 suggests=$4 libc
    libc=$(grep -ao 'GLIBC_2\.[0-9]*' "$program" | sort -uV | tail -n 1)
    mkdir "$root/DEBIAN"
    cat >"$root/DEBIAN/control" <<CONTROL
Package: $package
Version: $version-1
Architecture: $arch
Maintainer: $maintainer
Section: $section
Priority: optional
${homepage:+Homepage: $homepage
}Depends: libc6 (>= ${libc#GLIBC_}), libgcc-s1
Suggests: $suggests
Installed-Size: $(du -sk --exclude DEBIAN "$root" | cut -f 1)
Description: $(cat)
CONTROL
}

# deb PACKAGE: packs the root, and says the name of the file.
deb() {
    local file=$out/$1_$version-1_$arch.deb
    (cd "$root" && find etc usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    # Scripts of the package stay programs.
    find "$root/DEBIAN" -type f ! -perm /111 -exec chmod 644 {} +
    dpkg-deb --build --root-owner-group -Zxz "$root" "$file" >/dev/null
    echo "$file"
}

# archive NAME: packs the folder NAME of $work, and says the name of the file.
archive() {
    local file=$out/$1.tar.gz
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$1" |
        gzip -9n >"$file"
    echo "$file"
}
