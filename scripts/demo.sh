#!/bin/sh
# Builds Sluice and lets the bundled model tell a story under a memory ceiling that cannot hold all its experts.
# Arguments are passed on to `sluice generate`.
set -eu
cd "$(dirname "$0")/.."

sh scripts/install-dependencies.sh
program=build/release/bin/sluice
build() {
    if [ ! -f build/release/build.ninja ]; then
        echo "Configuring and building; the first time takes a few minutes." >&2
        # The kernels of a card take a quarter of the time, and wait for a machine that has one.
        card=
        command -v nvidia-smi >/dev/null 2>&1 || card=-DSLUICE_CUDA=OFF
        cmake --preset release $card >&2
    fi
    # Says nothing where nothing is to do.
    if ! ninja -C build/release -n sluice_program | grep -q 'no work to do'; then
        cmake --build build/release --target sluice_program >&2
    fi
}
build

# The least this machine needs is in the refusal of a ceiling that is far too low; a little more leaves most experts on
# the drive.
floor=$("$program" generate --prompt x --max-tokens 1 --context 1024 --ram 1M 2>&1 >/dev/null |
    sed -n 's/.*--ram \([0-9]*\)M would do.*/\1/p')
if [ -z "$floor" ]; then
    echo "demo.sh: could not find out how little memory the bundled model needs" >&2
    exit 1
fi
ram=$((floor + 2))M
echo "sluice generate --ram $ram --context 1024 --prompt \"Once upon a time\"" >&2
echo >&2
printf 'Once upon a time'
exec "$program" generate --prompt "Once upon a time" --context 1024 --max-tokens 200 --ram "$ram" "$@"
