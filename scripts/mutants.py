#!/usr/bin/env python3
"""What the reference data notices: plants known mistakes of gpt_oss in a copy of the tree, one at a time, and says how
far the logits are off then.

    mutants.py GOLDENS [--only WORD] [--others GOLDENS-NAME,...] [--here]

Builds in build/mutants, which is a copy of the tree as it stands; with --here in the tree itself, whose build/release
knows most of it already, and puts each file back. A mistake that no case of gpt_oss notices at 1e-3 is held against
--others, too.
"""
import argparse
import json
import shutil
import signal
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
REFERENCE = ["--device", "reference"]  # which decodes by the codec alone

# What is wrong, the file, what stands there, what is put there, and flags of the program.
MISTAKES = [
    ("gate is cut below, too", "src/backend/cpu/activation.cpp", "std::min(gate[i], limit)",
     "std::clamp(gate[i], -limit, limit)"),
    ("rows of gate and up one after the other, not by turns", GPT_OSS, ".alternating = true", ".alternating = false"),
    ("up without its 1", GPT_OSS, "kUpOffset = 1;", "kUpOffset = 0;"),
    ("sigmoid of the gate, not of 1.702 times the gate", GPT_OSS, "kAlpha = 1.702", "kAlpha = 1"),
    ("gate and up are not cut", GPT_OSS, 'number_or("swiglu_limit", 7.0)', 'number_or("swiglu_limit", 7.0) * 1e6'),
    ("no sinks", ATTENTION, "if (config.sinks)", "if (config.sinks && layer_ < 0)"),
    ("sinks in the windows alone", ATTENTION, "if (config.sinks)", "if (config.sinks && window_ > 0)"),
    ("a window sees one token more", ATTENTION, "window_(config.window)",
     "window_(config.window == 0 ? 0 : config.window + 1)"),
    ("windows in the other layers", GPT_OSS, "full[layer] ? 0 : window", "full[layer] ? window : 0"),
    ("YaRN's ramp rounded", "src/checkpoint/rotary_config.cpp", 'boolean_or("truncate", true)',
     'boolean_or("truncate_never", true)'),
    ("YaRN without its factor on cosine and sine", "src/model/rotary_table.cpp",
     "yarn_magnitude(config.factor, config.mscale) / all_dims", "1 / all_dims"),
    ("query, key and value without biases", ATTENTION, "if (config.query_key_value_bias)",
     "if (config.query_key_value_bias && layer_ < 0)"),
    ("output without its bias", ATTENTION, "if (config.output_bias)", "if (config.output_bias && layer_ < 0)"),
    ("neighbours are rotated together, not halves", ATTENTION, "interleaved_ = config.rotary.interleaved",
     "interleaved_ = true"),
    ("router without its bias", "src/model/feed_forward.cpp", "if (config_.router_bias)",
     "if (config_.router_bias && layer_ < 0)"),
    ("softmax over all experts", GPT_OSS, "mixture.routing.normalize = true", "mixture.routing.normalize = false"),
    ("down without its bias", "src/model/expert_layer.cpp", "group.down_bias = down_biases_.rows_at(expert, 1);", ""),
    ("the high nibble first", MXFP4, "decode_e2m1_group(data + start / 2, group, scale, out + start);",
     "decode_e2m1_group(data + start / 2, group, scale, out + start);\n"
     "        for (int64_t i = 0; i < group; i += 2) std::swap(out[start + i], out[start + i + 1]);", REFERENCE),
    ("GGUF's order of nibbles: halves", MXFP4, "decode_e2m1_group(data + start / 2, group, scale, out + start);",
     "for (int64_t i = 0; i < group; ++i) {\n"
     "            const auto pair = static_cast<uint8_t>(data[start / 2 + i % (group / 2)]);\n"
     "            out[start + i] = e2m1_to_float(i < group / 2 ? pair & 0xf : pair >> 4) * scale;\n"
     "        }", REFERENCE),
    ("scales of 2^(byte - 126)", MXFP4, "= e8m0_to_float(static_cast<uint8_t>(*scales++))",
     "= 2 * e8m0_to_float(static_cast<uint8_t>(*scales++))", REFERENCE),
]


def run(*command, **options):
    return subprocess.run([str(c) for c in command], text=True, capture_output=True, **options)


def copy_tree(copy):
    """The tracked files of the tree, of which only those that differ are written: a build goes on."""
    for name in run("git", "-C", ROOT, "ls-files").stdout.splitlines():
        if name.startswith(("tests/", "docs/", "fuzz/", "bench/", "bindings/")) and not name.endswith("CMakeLists.txt"):
            continue
        source, target = ROOT / name, copy / name
        if source.is_file() and (not target.is_file() or source.read_bytes() != target.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def build(copy):
    folder = copy / "build/release"
    if not (folder / "build.ninja").exists():
        done = run("cmake", "-S", copy, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                   "-DCMAKE_UNITY_BUILD=ON", "-DSLUICE_CUDA=OFF", "-DSLUICE_BUILD_TESTS=OFF")
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
    done = run("ninja", "-C", folder, "sluice_program")
    if done.returncode:
        sys.exit(done.stdout[-3000:])
    return folder / "bin/sluice"


def errors(goldens, program, word, flags):
    """The largest difference of logits or hidden states by case, and how many are above the tolerance."""
    worst = {}
    for case in sorted(path.parent for path in Path(goldens).glob(f"*{word}*/reference.safetensors")):
        reference = load_floats(case / "reference.safetensors")
        with tempfile.TemporaryDirectory() as folder:
            ids, out = Path(folder) / "ids.json", Path(folder) / "out.safetensors"
            ids.write_text(json.dumps(list(reference["input_ids"][1])))
            done = run(program, "logits", case, "--tokens", ids, "--output", out, "--hidden", "--exact", *flags)
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
    p.add_argument("--here", action="store_true", help="plant them in this tree")
    args = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # every file is put back
    copy = ROOT if args.here else ROOT / "build/mutants"
    if not args.here:
        copy_tree(copy)
    print("| mistake | noticed at 1e-3 | largest error by case |\n|---|---|---|", flush=True)
    row("none", *errors(args.goldens, build(copy), "gpt-oss", []))
    unnoticed = 0
    for mistake, name, before, after, *flags in MISTAKES:
        if args.only not in mistake:
            continue
        text = (copy / name).read_text()
        if text.count(before) != 1:
            sys.exit(f"{name}: {before!r} stands there {text.count(before)} times, not once")
        (copy / name).write_text(text.replace(before, after))
        try:
            program = build(copy)
            worst, failed = errors(args.goldens, program, "gpt-oss", flags[0] if flags else [])
            row(mistake, worst, failed)
            for other in args.others.split(",") if not failed else []:
                seen, caught = errors(args.goldens, program, other, [])
                row(f"{mistake}: {other}", seen, caught)
                failed += caught
            unnoticed += not failed
        finally:
            (copy / name).write_text(text)
    sys.exit(1 if unnoticed else 0)


if __name__ == "__main__":
    main()
