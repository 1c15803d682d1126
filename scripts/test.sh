#!/bin/sh
# Installs what is missing, builds, and runs every test: the layers, the format, release, the kernels on 64-bit ARM
# (cross-compiled, run by qemu-user), AddressSanitizer with UBSan (without the programs that hold long sums of numbers
# to the release build), ThreadSanitizer, short fuzz runs, and, where ../shared is, its reference data and the short
# form of the server's conformance kit, whose clients npm brings. Ends in a line `N passed, M failed`.
# FUZZ_SECONDS (default 3) is the length of each fuzz run; STAGES limits which stages run.
set -u
cd "$(dirname "$0")/.." || exit 1

stages=${STAGES:-"layers format release shared server arm asan fuzz tsan"}
fuzz_seconds=${FUZZ_SECONDS:-3}
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
logs=build/test-logs
arm_programs='cpu_op_test cpu_kernel_test'
passed=0
failed=0
failures=

mkdir -p "$logs"
sh scripts/install-dependencies.sh --with-clang --with-arm --with-clock --with-mpi || exit 1

count() { # PASSED FAILED NAME
    passed=$((passed + $1))
    failed=$((failed + $2))
    if [ "$2" -gt 0 ]; then failures="$failures $3"; fi
    echo "== $3: $1 passed, $2 failed"
}

# Counts what a check printed last, `N passed, M failed`; without such a line it has failed.
count_last() { # STATUS LOG NAME
    last=$(tail -n 1 "$2")
    good=$(printf '%s\n' "$last" | sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p')
    bad=$(printf '%s\n' "$last" | sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p')
    if [ -z "$good" ]; then
        tail -n 5 "$2"
        good=0
        bad=1
    elif [ "$1" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
    fi
    count "$good" "$bad" "$3"
}

# Configures a preset and builds targets (all without any); a failure counts as one and shows the end of the log.
build() { # PRESET [TARGET...]
    preset=$1
    shift
    targets=
    for target in "$@"; do targets="$targets --target $target"; done
    echo "== building $preset"
    # shellcheck disable=SC2086
    if cmake --preset "$preset" >"$logs/$preset-configure.log" 2>&1 &&
        cmake --build "build/$preset" -j "$jobs" $targets >"$logs/$preset-build.log" 2>&1; then
        return 0
    fi
    tail -n 40 "$logs/$preset-configure.log" "$logs/$preset-build.log" 2>/dev/null
    count 0 1 "$preset-build"
    return 1
}

# Begins to build while what follows leaves a processor idle; build() of the same takes what is left, after a `wait`.
early=
begin_build() { # PRESET TARGET...
    preset=$1
    shift
    # shellcheck disable=SC2046
    (cmake --preset "$preset" && nice -n 19 cmake --build "build/$preset" -j "$jobs" $(printf -- ' --target %s' "$@")) \
        >"$logs/$preset-early.log" 2>&1 &
    early=$!
}

# Runs ctest and counts the cases inside the programs: GoogleTest's and unittest's, and programs that died.
run_ctest() { # PRESET [ctest arguments]
    preset=$1
    shift
    log=$logs/$preset-ctest.log
    ctest --test-dir "build/$preset" -V -j "$jobs" --timeout 900 "$@" >"$log" 2>&1
    status=$?
    good=$(grep -cE '^[0-9]+: (\[       OK \]|.* \.\.\. ok$)' "$log")
    bad=$(grep -cE '^[0-9]+: (\[  FAILED  \] .*\([0-9]+ ms\)$|.* \.\.\. (FAIL|ERROR)$)' "$log")
    if [ "$status" -ne 0 ]; then
        if [ "$bad" -eq 0 ]; then bad=1; fi
        told='\[  FAILED  \]|.* \.\.\. (FAIL|ERROR)$|.*(ERROR: |runtime error|WARNING: ThreadSanitizer)'
        grep -E "^[0-9]+: ($told)" "$log" | sort -u | head -n 40
        sed -n '/tests passed/,$p' "$log"
    fi
    count "$good" "$bad" "$preset"
}

# Some templates print the date: what was recorded is compared on the day of the recording.
on_day_of() { # RECORDED
    day=$(sed -n 's/.*Current date: \([0-9]\{4\}-[0-9]\{2\}-[0-9]\{2\}\).*/\1/p' "$1" 2>/dev/null | head -n 1)
    if [ -n "$day" ] && command -v faketime >/dev/null 2>&1; then echo "faketime ${day}T12:00:00"; fi
}

# `clock`, if set, is a command that runs another at some time.
run_check() { # NAME SCRIPT arguments
    name=$1
    script=../shared/$2
    shift 2
    if [ ! -f "$script" ]; then
        echo "== check-$name: no $script; skipped"
        return
    fi
    interpreter=python3
    case "$script" in *.sh) interpreter=bash ;; esac
    # shellcheck disable=SC2086
    ${clock:-} "$interpreter" "$script" "$@" >"$logs/check-$name.log" 2>&1
    status=$?
    grep -E '^(FAIL|FAULT)' "$logs/check-$name.log"
    count_last "$status" "$logs/check-$name.log" "check-$name"
}

run_shared() {
    program=build/release/bin/sluice
    if [ ! -f ../shared/checks/check.py ] || [ ! -x "$program" ]; then
        echo "== shared: no reference data beside this tree; skipped"
        return
    fi
    goldens=../shared/goldens
    # The smallest ceiling that runs is in the refusal of one that is far too low; 1M more holds a few experts.
    floor=$("$program" logits "$goldens/qwen3_5-moe-bf16" --tokens "$logs/ids.json" --output "$logs/o.safetensors" \
        --exact --ram 1M 2>&1 | sed -n 's/.*--ram \([0-9]*\)M would do.*/\1/p')
    run_check goldens checks/check.py --only qwen --ram "$((${floor:-96} + 4))M" goldens "$program" "$goldens"
    run_check tokens checks/check.py tokens "$program" ../shared/text/tokenizers/*
    clock=$(on_day_of ../shared/text/template_cases.json)
    run_check templates checks/check.py templates "$program" ../shared/text
    clock=
    run_check models checks/check.py models "$program" ../shared/models
    for family in deepseek-v32 deepseek-v4 glm-5-mlx4 glm-5.2 glm4-moe glm5-next gpt-oss kimi-linear llama4 mimo-v2 \
        minimax-m2 mixtral nemotron-h olmoe qwen3-vl qwen4-exp; do
        run_check "$family" checks/check.py --only "$family" goldens "$program" ../shared/goldens-next
    done
    # Its scores are not scaled: sums of float32 differ more.
    run_check gemma4 checks/check.py --only gemma4 --tolerance 2e-3 goldens "$program" ../shared/goldens-next
    run_check field-text field/text/check.py
    # Those that take seconds and no gigabytes; where root or control groups are lacking some are skipped.
    run_check field-run field/run/check_all.sh f01-stderr-abort f02-threads-abort f03-prefix-of-another-model \
        f04-output-replaces-device f07-cpu-quota f08-yarn-dropped f09-override-prefix f10-stale-index \
        f11-prefix-cache-limit f12-input-not-regular f13-wrong-reason f14-plan-modelopt f15-chat-terminal \
        f17-direct-refused-later f18-open-files f19-c-api
    for part in types tokenizers malformed; do
        run_check "gguf-$part" checks/check_gguf.py "$part" "$program" "../shared/gguf/$part"
    done
    for family in deepseek2 gemma4 glm4moe gpt-oss llama4 minimax mixtral olmoe qwen; do
        run_check "gguf-$family" checks/check_gguf.py --only "$family" models "$program" ../shared/gguf/models
    done
}

# The short form of the server's conformance kit, whose clients npm brings.
run_server() {
    if [ ! -d ../shared/server/kit ] || ! command -v npm >/dev/null 2>&1; then
        echo "== server: no kit beside this tree or no npm; skipped"
        return
    fi
    log=$logs/server.log
    sh scripts/check_server.sh --short >"$log" 2>&1
    status=$?
    grep -A1 '^FAIL' "$log"
    if [ "$status" -eq 0 ] && ! tail -n 1 "$log" | grep -q passed; then
        echo "== server: $(tail -n 1 "$log"); skipped"
    else
        count_last "$status" "$log" server
    fi
}

# The programs of a preset whose names match, on one line; configures it first.
targets_of() { # PRESET PATTERN
    cmake --preset "$1" >"$logs/$1-configure.log" 2>&1
    ninja -C "build/$1" -t targets all 2>/dev/null | sed -n 's/^\([a-z_]*\): phony$/\1/p' | grep -v '^cmake_' |
        grep -E "$2" | tr '\n' ' '
}

# Every instruction set has its kernels tried by cpu_kernel_test; those of whole operations are tried with the ones that
# differ most, and a change of threads with the portable and the widest one.
run_release() {
    build release || return
    GTEST_FILTER='-*CpuOp*/AvxVnni:*CpuOp*/Avx512:*CpuOp*/Avx512WithVbmi:*ThreadsChangeNoBit/Avx*' run_ctest release
}

# The programs that take minutes over numbers touch no memory that the others do not.
run_asan() {
    numbers='^(mla|model|engine|streaming|estimate|state_memory|cache_simulator|synth_routing)_test$'
    targets=$(targets_of asan '_test$' | tr ' ' '\n' | grep -vE "$numbers" | tr '\n' ' ')
    if [ -z "$targets" ]; then
        count 0 1 asan-targets
        return
    fi
    # shellcheck disable=SC2086
    build asan sluice_program $targets || return
    # Of the instruction sets the best one is enough here, and AVX2, which masks nothing.
    # Stacks of its own would take memory where a test leaves none.
    ASAN_OPTIONS=detect_stack_use_after_return=0 \
        GTEST_FILTER='-*/Scalar:*/AvxVnni:*/Avx512*:*/Amx*:*ThreadsChangeNoBit*:*CpuOperations.Exact*' \
        run_ctest asan -E "$numbers"
}

# The tests of what is shared between threads: the pool, the expert store and its readers, the server's scheduler.
run_tsan() {
    threaded='^(base|thread_pool|expert_store|reader|scheduler_threads)_test'
    targets=$(targets_of tsan "$threaded\$")
    if [ -z "$targets" ]; then
        count 0 1 tsan-targets
        return
    fi
    # shellcheck disable=SC2086
    build tsan $targets && run_ctest tsan -R "$threaded"
}

# The kernels with NEON: the portable ones run in the other stages, and the other rooms need libraries of that
# architecture.
run_arm() {
    # A build that began early and failed is told by the next one.
    [ -z "$early" ] || wait "$early" || true
    # shellcheck disable=SC2086
    build arm $arm_programs || return
    GTEST_FILTER='-*/Scalar:*/Auto:*ThreadsChangeNoBit*' run_ctest arm -R '^cpu_(op|kernel)_test'
}

run_fuzz() {
    names=$(targets_of asan '^[a-z_]*_fuzz$')
    if [ -z "$names" ]; then
        count 0 1 fuzz-targets
        return
    fi
    # shellcheck disable=SC2086
    build asan $names || return
    for name in $names; do
        target=build/asan/fuzz/$name
        # Each starts from the seeds in the tree; what it finds stays in the build folder.
        corpus=build/asan/corpus/$name
        mkdir -p "$corpus"
        seeds=
        if [ -d "fuzz/seeds/$name" ]; then seeds=fuzz/seeds/$name; fi
        # shellcheck disable=SC2086
        if "$target" -max_total_time="$fuzz_seconds" -rss_limit_mb=2048 -timeout=10 -artifact_prefix="$corpus-" \
            "$corpus" $seeds >"$logs/$name.log" 2>&1; then
            count 1 0 "$name"
        else
            tail -n 25 "$logs/$name.log"
            count 0 1 "$name"
        fi
    done
}

echo '[1, 2, 3, 4, 5, 6, 7, 8]' >"$logs/ids.json"
for stage in $stages; do
    began=$(date +%s)
    case "$stage" in
        layers)
            if sh scripts/check_layers.sh; then count 1 0 layers; else count 0 1 layers; fi
            ;;
        format)
            if sh scripts/check_format.sh; then count 1 0 format; else count 0 1 format; fi
            ;;
        release) run_release ;;
        shared)
            # The checks leave a processor idle: the kernels for ARM begin to compile beside them.
            # shellcheck disable=SC2086
            case " $stages " in *' arm '*) begin_build arm $arm_programs ;; esac
            run_shared
            ;;
        server) run_server ;;
        arm) run_arm ;;
        asan) run_asan ;;
        tsan) run_tsan ;;
        fuzz) run_fuzz ;;
        *) echo "test.sh: no stage $stage" >&2; exit 2 ;;
    esac
    echo "== $stage took $(($(date +%s) - began)) s"
done

[ -z "$failures" ] || echo "failed in:$failures (logs in $logs)"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
