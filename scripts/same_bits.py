#!/usr/bin/env python3
"""Do two builds compute the same bits?

    scripts/same_bits.py record PROGRAM FILE      # checksums of the logits of every model, in FILE
    scripts/same_bits.py compare PROGRAM FILE     # the same again, against FILE

Models: tests/data/goldens, the bundled one, and the reference data of ../shared where it is. Each is run with --exact
and by default, whole and in chunks of 7 tokens, by every instruction set that the processor has. Checksums hold for one
kind of processor: record on the machine that compares.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("tests/data/goldens", "models", "../shared/goldens", "../shared/models")
SETS = ("", "scalar", "avx2", "avx512", "avx512vnni-no-vbmi", "avx512vnni", "amx", "neon")
TOKENS = 48


def models():
    for folder in FOLDERS:
        yield from sorted(path.parent for path in (ROOT / folder).glob("*/config.json"))


def vocabulary(model):
    config = json.loads((model / "config.json").read_text())
    return config.get("vocab_size") or config["text_config"]["vocab_size"]


def checksum(program, model, flags, folder):
    """Of the logits of TOKENS made-up tokens; None where this processor lacks the instruction set."""
    size = vocabulary(model)
    tokens, output = folder / "tokens.json", folder / "logits.safetensors"
    tokens.write_text(json.dumps([(i * 7919 + 13) % size for i in range(TOKENS)]))
    command = [program, "logits", model, "--tokens", tokens, "--output", output, "--quiet", "--ram", "2G", *flags]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if run.returncode != 0:
        if "--instruction-set" in flags:
            return None
        raise SystemExit(f"{model.name} {' '.join(flags)}: {run.stderr.strip()}")
    data = output.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    return hashlib.sha256(data[begin:]).hexdigest()


def measure(program):
    sums = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for model in models():
            for instruction_set in SETS:
                chosen = ["--instruction-set", instruction_set] if instruction_set else []
                for mode in ([], ["--exact"], ["--chunk", "7"], ["--exact", "--chunk", "7"]):
                    key = " ".join([f"{model.parent.name}/{model.name}", *chosen, *mode])
                    found = checksum(program, model, [*chosen, *mode], folder)
                    if found:
                        sums[key] = found
    return sums


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("record", "compare"):
        raise SystemExit(__doc__)
    action, program, file = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), pathlib.Path(sys.argv[3])
    sums = measure(program)
    if action == "record":
        file.write_text(json.dumps(sums, indent=1) + "\n")
        print(f"{len(sums)} checksums in {file}")
        return
    before = json.loads(file.read_text())
    differ = sorted(key for key in before if sums.get(key) != before[key])
    for key in differ:
        print(f"{key}: {'other bits' if key in sums else 'not run'}")
    print(f"{len(before) - len(differ)} passed, {len(differ)} failed")
    raise SystemExit(1 if differ else 0)


if __name__ == "__main__":
    main()
