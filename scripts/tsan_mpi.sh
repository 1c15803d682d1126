#!/bin/sh
# The tests of several processes with ThreadSanitizer: every race of the program's own threads ends a process, and with
# it the job. Takes long to compile, so it is not a part of the continuous integration. Needs Open MPI. Arguments are
# names of tests, such as Peers.test_the_bundled_model_says_the_same.
set -eu
cd "$(dirname "$0")/.."
cmake --preset tsan -DSLUICE_MPI=ON -DSLUICE_CUDA=OFF
cmake --build --preset tsan --target sluice_program sluice_mpi
place=$PWD/build/tsan
# MPI's libraries, which are not built with ThreadSanitizer, do not show it what they wait for.
export TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1 exitcode=66 log_path=$place/race"
export SLUICE_PROGRAM="$place/bin/sluice"
# ThreadSanitizer loads libraries in the program's place, and looks for them in its own.
export LD_LIBRARY_PATH="$place/bin"
rm -f "$place"/race.*
python3 tests/cli/peers_test.py -v "$@"
if ls "$place"/race.* 2>/dev/null; then
    echo "tsan_mpi.sh: races were found" >&2
    exit 1
fi
