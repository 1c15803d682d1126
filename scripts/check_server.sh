#!/bin/sh
# Runs the server's conformance kit, which stands beside the checkout, over a build: check_server.sh [BUILD [REGEX]].
# Needs node, npm, and for the page chromium. Without REGEX all checks, which takes a while; '^(basics|wire|chat)' is
# the short form.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$root/build/release}
only=${2:-.}
kit=$root/../shared/server/kit
[ -d "$kit" ] || { echo "check_server.sh: no $kit; nothing is checked" >&2; exit 0; }

work=$(mktemp -d)
server=
end() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT
cp -r "$kit/." "$work"
cd "$work"
npm install --silent --no-audit --no-fund >&2

program=$build/bin/sluice
model=$root/models/stories-hybrid
node run.mjs --start "$program serve $model --port {port} {flags}" --sluice "$program" --model "$model" --only "$only"
command -v chromium >/dev/null 2>&1 || { echo "check_server.sh: no chromium; the page is not checked" >&2; exit 0; }
port=18499
"$program" serve "$model" --port "$port" &
server=$!
sleep 3
node page.mjs "http://127.0.0.1:$port"
