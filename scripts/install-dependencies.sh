#!/bin/sh
# Installs the Debian packages that Sluice is built with, if any is missing. --with-clang: also those of the fuzz
# targets; --with-arm: also those that build and run the kernels' tests for 64-bit ARM. --with-clock: also what runs a
# test on another day. --with-mpi: also what several machines work together by.
set -eu
# shellcheck disable=SC2086  # the lists of packages are meant to fall apart into words

packages="cmake ninja-build g++ pkg-config ccache python3 clang-format libfmt-dev libspdlog-dev libcli11-dev
nlohmann-json3-dev libboost-dev libpcre2-dev libutf8proc-dev libxxhash-dev liburing-dev libedit-dev
libcurl4-openssl-dev libssl-dev libgtest-dev libgmock-dev libbenchmark-dev"
for argument in "$@"; do
    case "$argument" in
        --with-clang) packages="$packages clang-16 libclang-rt-16-dev" ;;
        --with-mpi) packages="$packages openmpi-bin libopenmpi-dev" ;;
        --with-clock) packages="$packages faketime" ;;
        --with-arm) packages="$packages g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user googletest" ;;
        *)
            echo "install-dependencies.sh: no argument $argument; there are --with-clang, --with-arm, --with-mpi," \
                "--with-clock" >&2
            exit 2
            ;;
    esac
done

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "install-dependencies.sh: this is no Debian; install what these packages hold by hand:" $packages >&2
    exit 0
fi

installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages 2>/dev/null | sed -n 's/ installed$//p')
missing=
for package in $packages; do
    printf '%s\n' "$installed" | grep -qx "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "install-dependencies.sh: neither root nor sudo; as root, run: apt-get install$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "Installing$missing" >&2
$as_root apt-get update -qq >&2
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
