#!/bin/sh
# A room (a folder of src/) may include itself, the rooms that its CMakeLists.txt names in ROOMS, and sluice/; see
# docs/architecture.md.
set -eu
cd "$(dirname "$0")/.."

# What a room may include besides itself and sluice/.
allowed() {
    tr '\n' ' ' <"src/$1/CMakeLists.txt" | sed -n 's/.*sluice_room('"$1"' [^)]*ROOMS \([a-z ]*\).*/\1/p'
}

bad=0
for folder in src/*/; do
    room=$(basename "$folder")
    if ! grep -q "sluice_room($room\b" "src/$room/CMakeLists.txt" 2>/dev/null; then
        echo "src/$room: no CMakeLists.txt in it that says sluice_room($room ...)"
        bad=1
        continue
    fi
    may=$(allowed "$room")
    # FILE:LINE:#include "other/..." of every quoted include that names a folder
    found=$(grep -rnE '^[[:space:]]*#[[:space:]]*include "[a-z_]+/' "$folder" \
        --include='*.h' --include='*.cpp' --include='*.cu' --include='*.cuh' || true)
    [ -n "$found" ] || continue
    wrong=$(printf '%s\n' "$found" | awk -v room="$room" -v may="$may" '
        BEGIN { split(may, names, " "); for (i in names) ok[names[i]] = 1; ok[room] = 1; ok["sluice"] = 1 }
        { line = $0; sub(/^[^"]*"/, "", line); sub(/\/.*/, "", line); if (!(line in ok)) print }')
    if [ -n "$wrong" ]; then
        printf '%s\n' "$wrong"
        bad=1
    fi
done
if grep -rnE '#[[:space:]]*include "[a-z_]+/' include | grep -v '"sluice/'; then
    bad=1
fi
[ "$bad" = 0 ] || { echo "check_layers.sh: the includes above reach above their room"; exit 1; }
