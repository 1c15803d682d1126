#!/usr/bin/env python3
"""What the reference data notices: plants known mistakes of gpt_oss in a copy of the tree and says how far the logits
are off with each.

    mutants.py GOLDENS [--only WORD] [--others GOLDENS-NAME,...]

All mistakes stand in one program, built in build/mutants from a copy of the tree; an environment variable says which
of them it makes. A mistake that no case of gpt_oss notices at 1e-3 is held against --others, too.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/cli"))
from program import load_floats  # noqa: E402

TOLERANCE = 1e-3
GPT_OSS = "src/checkpoint/architectures/gpt_oss.cpp"
ATTENTION = "src/model/grouped_attention.cpp"
MXFP4 = "src/tensor/mxfp4_codec.cpp"
DECODE = "decode_e2m1_group(data + start / 2, group, scale, out + start);"
REFERENCE = ["--device", "reference"]  # which decodes by the codec alone
NO_MISTAKE = -1

# What is wrong, the file, the expression or statement there, what is computed instead, and flags of the program.
MISTAKES = [
    ("gate is cut below, too", "src/backend/cpu/activation.cpp", "std::min(gate[i], limit)",
     "std::clamp(gate[i], -limit, limit)"),
    ("rows of gate and up one after the other, not by turns", "src/checkpoint/expert_sources.cpp",
     "names_.alternating", "false"),
    ("up without its 1", GPT_OSS, "mixture.activation.up_offset = kUpOffset;", "mixture.activation.up_offset = 0;"),
    ("sigmoid of the gate, not of 1.702 times the gate", GPT_OSS, "mixture.activation.alpha = kAlpha;",
     "mixture.activation.alpha = 1;"),
    ("gate and up are not cut", GPT_OSS, 'fields.number_or("swiglu_limit", 7.0)', "1e6"),
    ("no sinks", ATTENTION, "config.sinks", "false"),
    ("sinks in the windows alone", ATTENTION, "config.sinks", "window_ > 0"),
    ("a window sees one token more", ATTENTION, "config.window", "config.window + (config.window > 0)"),
    ("windows in the other layers", GPT_OSS, "full[layer] ? 0 : window", "full[layer] ? window : 0"),
    ("YaRN's ramp rounded", "src/checkpoint/rotary_config.cpp", 'settings.boolean_or("truncate", true)', "true"),
    ("YaRN without its factor on cosine and sine", "src/model/rotary_table.cpp",
     "yarn_magnitude(config.factor, config.mscale) / all_dims", "1 / all_dims"),
    ("query, key and value without biases", ATTENTION, "config.query_key_value_bias", "false"),
    ("output without its bias", ATTENTION, "config.output_bias", "false"),
    ("neighbours are rotated together, not halves", ATTENTION, "config.rotary.interleaved", "true"),
    ("router without its bias", "src/model/feed_forward.cpp", "config_.router_bias", "false"),
    ("softmax over all experts", GPT_OSS, "mixture.routing.normalize = true;", "mixture.routing.normalize = false;"),
    ("down without its bias", "src/model/expert_layer.cpp", "group.down_bias = down_biases_.rows_at(expert, 1);", ";"),
    ("the high nibble first", MXFP4, DECODE,
     DECODE + " for (int64_t i = 0; i < group; i += 2) std::swap(out[start + i], out[start + i + 1]);", REFERENCE),
    ("GGUF's order of nibbles: halves", MXFP4, DECODE,
     "for (int64_t i = 0; i < group; ++i) {"
     " const auto pair = static_cast<uint8_t>(data[start / 2 + i % (group / 2)]);"
     " out[start + i] = e2m1_to_float(i < group / 2 ? pair & 0xf : pair >> 4) * scale; }", REFERENCE),
    ("scales of 2^(byte - 126)", MXFP4, "e8m0_to_float(static_cast<uint8_t>(*scales++))",
     "2 * e8m0_to_float(static_cast<uint8_t>(*scales++))", REFERENCE),
]

# Stands before each file that makes a mistake; files may be joined.
WHICH = """#ifndef SLUICE_MISTAKE
#define SLUICE_MISTAKE
#include <cstdlib>
inline bool makes_mistake(int number) {
    static const int made = std::atoi(std::getenv("SLUICE_MISTAKE"));
    return made == number;
}
#endif
"""


def run(*command, **options):
    return subprocess.run([str(c) for c in command], text=True, capture_output=True, **options)


def planted():
    """The text of each file that makes mistakes."""
    texts, places = {}, {}
    for number, (_, name, right, wrong, *_) in enumerate(MISTAKES):
        places.setdefault((name, right), []).append((number, wrong))
    for (name, right), mistakes in places.items():
        text = texts.setdefault(name, WHICH + (ROOT / name).read_text())
        if text.count(right) != 1:
            sys.exit(f"{name}: {right!r} stands there {text.count(right)} times, not once")
        statement = right.endswith(";")
        made = "{ %s }" % right if statement else "(%s)" % right
        for number, wrong in mistakes:
            form = "{ if (makes_mistake(%d)) { %s } else %s }" if statement else "(makes_mistake(%d) ? (%s) : %s)"
            made = form % (number, wrong, made)
        texts[name] = text.replace(right, made)
    return texts


def copy_tree(copy):
    """The tracked files of the tree with the mistakes; only those that differ are written: a build goes on."""
    texts = planted()
    for name in run("git", "-C", ROOT, "ls-files").stdout.splitlines():
        if name.startswith(("tests/", "docs/", "fuzz/", "bench/", "bindings/")) and not name.endswith("CMakeLists.txt"):
            continue
        source, target = ROOT / name, copy / name
        if source.is_file():
            wanted = texts[name].encode() if name in texts else source.read_bytes()
            if not target.is_file() or wanted != target.read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(wanted)
                shutil.copymode(source, target)


def build(copy):
    folder = copy / "build/release"
    if not (folder / "build.ninja").exists():
        done = run("cmake", "-S", copy, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                   "-DCMAKE_UNITY_BUILD=ON", "-DSLUICE_CUDA=OFF", "-DSLUICE_BUILD_TESTS=OFF")
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
    done = run("nice", "-n", "5", "ninja", "-C", folder, "-j", os.environ.get("JOBS", "1"), "sluice_program")
    if done.returncode:
        sys.exit(done.stdout[-3000:])
    return folder / "bin/sluice"


def errors(goldens, program, word, mistake, flags):
    """The largest difference of logits or hidden states by case, and how many are above the tolerance."""
    worst = {}
    for case in sorted(path.parent for path in Path(goldens).glob(f"*{word}*/reference.safetensors")):
        reference = load_floats(case / "reference.safetensors")
        with tempfile.TemporaryDirectory() as folder:
            ids, out = Path(folder) / "ids.json", Path(folder) / "out.safetensors"
            ids.write_text(json.dumps(list(reference["input_ids"][1])))
            done = run(program, "logits", case, "--tokens", ids, "--output", out, "--hidden", "--exact", *flags,
                       env=os.environ | {"SLUICE_MISTAKE": str(mistake)})
            got = load_floats(out) if done.returncode == 0 else {}
        compared = [name for name in reference if name == "logits" or name.startswith("hidden.")]
        worst[case.name] = max((abs(a - b) for name in compared if name in got
                                for a, b in zip(got[name][1], reference[name][1])), default=float("inf"))
    return worst, sum(not error <= TOLERANCE for error in worst.values())


def row(mistake, worst, failed):
    figures = ", ".join(f"{name} {error:.1e}" for name, error in sorted(worst.items()))
    print(f"| {mistake} | {'yes' if failed else 'no'} | {figures} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("goldens")
    p.add_argument("--only", default="", help="mistakes whose words hold this")
    p.add_argument("--others", default="glm5-next-bf16,deepseek-v4-bf16", help="cases for what gpt-oss does not notice")
    args = p.parse_args()
    copy = ROOT / "build/mutants"
    copy_tree(copy)
    program = build(copy)
    print("| mistake | noticed at 1e-3 | largest error by case |\n|---|---|---|", flush=True)
    worst, failed = errors(args.goldens, program, "gpt-oss", NO_MISTAKE, [])
    row("none", worst, failed)
    unnoticed = 0
    for number, (mistake, _, _, _, *flags) in enumerate(MISTAKES):
        if args.only not in mistake:
            continue
        worst, noticed = errors(args.goldens, program, "gpt-oss", number, flags[0] if flags else [])
        row(mistake, worst, noticed)
        for other in args.others.split(",") if not noticed else []:
            seen, caught = errors(args.goldens, program, other, number, [])
            row(f"{mistake}: {other}", seen, caught)
            noticed += caught
        unnoticed += not noticed
    sys.exit(1 if failed or unnoticed else 0)


if __name__ == "__main__":
    main()
