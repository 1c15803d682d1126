#!/bin/sh
# Code as .clang-format has it, and no line of code or prose over 120 columns but those that cannot be broken (a link, a
# string of a test, a row of a table).
set -eu
cd "$(dirname "$0")/.."

bad=0
# shellcheck disable=SC2046
if ! clang-format --dry-run -Werror $(git ls-files '*.h' '*.hpp' '*.cpp' '*.c' '*.cu' '*.cuh'); then
    bad=1
fi
long=$(git ls-files '*.h' '*.cpp' '*.c' '*.cu' '*.cuh' '*.md' '*.txt' '*.cmake' '*.sh' '*.py' | grep -v '^tests/data/' |
    xargs awk 'length($0) > 120 && !/^\|/ && !/https?:\/\// && !/R"/ && !/^ *f?"/ && !/^ *(print|row)\(f"/ { print FILENAME ":" FNR ": " length($0) " columns" }')
if [ -n "$long" ]; then
    printf '%s\n' "$long"
    bad=1
fi
[ "$bad" = 0 ] || { echo "check_format.sh: run clang-format; break the lines above at 120 columns"; exit 1; }
