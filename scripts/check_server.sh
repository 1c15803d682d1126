#!/bin/sh
# Runs the server's conformance kit, which stands beside the checkout, over a build, and clients that the kit has not
# (Ollama's own, Vercel's AI SDK, LangChain): check_server.sh [--short] [BUILD [REGEX]]. Needs node and npm, for the
# page chromium too. Everything takes a while; --short leaves out the checks that wait for clocks or want a quiet
# machine, most schemas, the AI SDK with LangChain, and the page. Ends in a line `N passed, M failed`.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
short=
if [ "${1:-}" = --short ]; then
    short=yes
    shift
fi
build=${1:-$root/build/release}
only=${2:-.}
kit=$root/../shared/server/kit
program=$build/bin/sluice
model=$root/models/stories-hybrid
own_port=${PORT:-18499}
for needed in node npm; do
    command -v "$needed" >/dev/null 2>&1 || { echo "check_server.sh: no $needed; nothing is checked" >&2; exit 0; }
done
[ -d "$kit" ] || { echo "check_server.sh: no $kit; nothing is checked" >&2; exit 0; }
[ -x "$program" ] || { echo "check_server.sh: no $program; build it first" >&2; exit 1; }

# A copy of its own beside the build, where its packages stay for the next time.
work=$build/server-kit
mkdir -p "$work"
cp -rf "$kit/." "$work"
chmod -R u+w "$work"
cd "$work"
if ! cmp -s package-lock.json node_modules/installed-lock.json; then
    if ! npm ci --silent --no-audit --no-fund >&2; then
        echo "check_server.sh: npm brings no packages; nothing is checked"
        exit 0
    fi
    cp package-lock.json node_modules/installed-lock.json
fi

passed=0
failed=0
count() { # STATUS FILE: what a part exited with and printed last
    last=$(tail -n 1 "$2")
    good=$(printf '%s\n' "$last" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\1/p')
    bad=$(printf '%s\n' "$last" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\2/p')
    if [ "$1" -ne 0 ] && [ "${bad:-0}" -eq 0 ]; then bad=1; fi
    passed=$((passed + ${good:-0}))
    failed=$((failed + ${bad:-1}))
}

set -- --start "$program serve $model --port {port} {flags}" --sluice "$program" --model "$model" --only "$only"
if [ -n "$short" ]; then
    long='^(load|limits)\.|^schema\.[^e]|16-at-once|stream-equals-whole|stop-across|slow|keepalive'
    set -- "$@" --quiet --skip "$long"
fi
status=0
node run.mjs "$@" >run.log 2>&1 || status=$?
cat run.log
count "$status" run.log

"$program" serve "$model" --port "$own_port" >own-server.log 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
tries=0
asks="fetch('http://127.0.0.1:$own_port/health').then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"
until node -e "$asks"; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "check_server.sh: the server of its own does not start" >&2; exit 1; }
    sleep 0.2
done

run_on_own() { # NAME SCRIPT ARGUMENT...: a part that asks a running server
    log=$1.log script=$2
    shift 2
    status=0
    node "$script" "http://127.0.0.1:$own_port" "$@" >"$log" 2>&1 || status=$?
    cat "$log"
    count "$status" "$log"
}

if npm install --silent --no-audit --no-fund --prefix ollama-client ollama@0.6.4 >&2; then
    run_on_own ollama "$root/tests/server/clients/ollama.mjs" ollama-client
else
    echo "check_server.sh: npm brings no client of Ollama; it is not checked" >&2
fi
frameworks='ai@6 @ai-sdk/openai@3 @ai-sdk/openai-compatible@2 @ai-sdk/anthropic@3'
frameworks="$frameworks @langchain/core@1 @langchain/openai@1 zod@4"
# shellcheck disable=SC2086
if [ -z "$short" ] && npm install --silent --no-audit --no-fund --prefix frameworks $frameworks >&2; then
    run_on_own frameworks "$root/tests/server/clients/frameworks.mjs" frameworks
elif [ -z "$short" ]; then
    echo "check_server.sh: npm brings no AI SDK or LangChain; they are not checked" >&2
fi
if [ -z "$short" ] && command -v chromium >/dev/null 2>&1; then
    run_on_own page page.mjs --shots shots
elif [ -z "$short" ]; then
    echo "check_server.sh: no chromium; the page is not checked" >&2
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
