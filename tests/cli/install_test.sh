#!/bin/sh
# Installs the build into an empty prefix, and uses it as a stranger would: the program with its bundled model, a C++
# and a C program through pkg-config, and a CMake project through find_package. Arguments: build folder, source folder.
set -eu
build=$1
source=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-install-XXXXXX")
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
pc=$(find "$prefix" -name sluice.pc)
libdir=$(dirname "$(dirname "$pc")")
pkg() { PKG_CONFIG_PATH=$(dirname "$pc") pkg-config "$@" sluice; }

[ "$(pkg --modversion)" = "$("$prefix/bin/sluice" --version | sed 's/^sluice //')" ]

cat >"$work/use.cpp" <<'CODE'
#include <sluice/cache_simulation.h>
#include <sluice/disk_measurement.h>
#include <sluice/engine.h>
#include <sluice/float_tensors.h>
#include <sluice/model_report.h>
#include <sluice/pack.h>
#include <sluice/synthesize.h>

#include <cstdio>

int main(int, char** arguments) {
    const auto engine = sluice::Engine::open(arguments[1], {});
    const auto session = engine->new_session();
    const std::vector<sluice::TokenId> prompt = {1, 2, 3};
    sluice::GenerationOptions options;
    options.max_tokens = 4;
    options.ignore_eos = true;
    const auto result = engine->generate(*session, prompt, options);
    std::printf("%zu tokens from %s\n", result.token_ids.size(), engine->info().architecture.c_str());
    return result.token_ids.size() == 4 ? 0 : 1;
}
CODE
model=$source/tests/data/goldens/qwen3-moe-mlx4
# shellcheck disable=SC2046
c++ -std=c++20 "$work/use.cpp" $(pkg --cflags --libs) -o "$work/use"
LD_LIBRARY_PATH=$libdir "$work/use" "$model"
echo "C++ program through pkg-config: ok"

if [ -f "$prefix/include/sluice/sluice.h" ]; then
    printf '#include <sluice/sluice.h>\nint main(void) { return 0; }\n' >"$work/use.c"
    # shellcheck disable=SC2046
    cc -std=c99 -Wall -Wextra -Wpedantic -Werror "$work/use.c" $(pkg --cflags --libs) -o "$work/use_c"
    LD_LIBRARY_PATH=$libdir "$work/use_c"
    echo "C program through pkg-config: ok"

    printf '#include <sluice/sluice.h>\nint main(void) { return sluice_version()[0] == 0; }\n' >"$work/shared.c"
    # shellcheck disable=SC2046
    cc -std=c99 "$work/shared.c" $(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs sluice-c) \
        -o "$work/use_shared"
    LD_LIBRARY_PATH=$libdir ldd "$work/use_shared" | grep -q "libsluice.so.0 => $libdir"
    LD_LIBRARY_PATH=$libdir "$work/use_shared"
    echo "C program over the shared library: ok"
fi

mkdir "$work/project"
cat >"$work/project/CMakeLists.txt" <<'CODE'
cmake_minimum_required(VERSION 3.25)
project(use CXX)
find_package(sluice 0.1 REQUIRED)
add_executable(use ../use.cpp)
target_link_libraries(use PRIVATE sluice::sluice)
CODE
cmake -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/cmake.log" 2>&1 &&
    cmake --build "$work/project/build" >>"$work/cmake.log" 2>&1 || { cat "$work/cmake.log"; exit 1; }
LD_LIBRARY_PATH=$libdir "$work/project/build/use" "$model"
echo "CMake project through find_package: ok"

# From a folder where no source tree is near, so that only the installed model can be found.
cd "$work"
"$prefix/bin/sluice" inspect --json | grep -q "\"path\": \"$prefix/share/sluice/models/stories-hybrid\""
"$prefix/bin/sluice" generate --max-tokens 5 --quiet >"$work/story.txt"
[ -s "$work/story.txt" ]
echo "installed program with its bundled model: ok"
