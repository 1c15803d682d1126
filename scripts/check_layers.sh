#!/bin/sh
# A room (a folder of src/) may include itself, the rooms below it and sluice/; see docs/architecture.md.
set -eu
cd "$(dirname "$0")/.."

# room: what it may include besides itself and sluice/
allowed() {
    case "$1" in
        base) echo "" ;;
        tensor) echo "base" ;;
        text) echo "base" ;;
        checkpoint) echo "base tensor" ;;
        experts) echo "base tensor checkpoint" ;;
        backend) echo "base tensor checkpoint experts" ;;
        model) echo "base tensor checkpoint experts backend" ;;
        engine) echo "base tensor text checkpoint experts backend model" ;;
        server | cli) echo "base" ;;
        *) echo "?" ;;
    esac
}

bad=0
for folder in src/*/; do
    room=$(basename "$folder")
    may=$(allowed "$room")
    if [ "$may" = "?" ]; then
        echo "src/$room: a room that check_layers.sh does not know; say there what it may include"
        bad=1
        continue
    fi
    # FILE:LINE:#include "other/..." of every quoted include that names a folder
    found=$(grep -rnE '^[[:space:]]*#[[:space:]]*include "[a-z_]+/' "$folder" --include='*.h' --include='*.cpp' --include='*.cu' || true)
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
