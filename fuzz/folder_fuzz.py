#!/usr/bin/env python3
"""Model folders with several of their files damaged at once, each given to the program: it may refuse them in a line,
but not crash, hang or take more memory than a small model needs. Needs Python 3 alone; best with a program built with
AddressSanitizer.

    fuzz/folder_fuzz.py --program build/asan/bin/sluice --runs 1000

A run is known by its number: --first N --runs 1 makes the same folder again, --keep F leaves those that failed in F."""
import argparse
import copy
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASES = sorted(ROOT.glob("tests/data/goldens/*/config.json")) + [ROOT / "models/stories-hybrid/config.json"]
SETTINGS = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
            "model.safetensors.index.json"]
SECONDS, BYTES = 5, 1 << 30
# What may stand in the place of any value of a JSON file.
HOSTILE = [0, -1, 1, 2, 3, 7, 255, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -2**63, 0.5, -0.0,
           1e-40, 1e308, -1e308, True, False, None, "", "0", "x" * 5000, "\n", "\u0000", "F32", "BF16", "U8",
           "../config.json", [], {}, [[]], [None], [0, 0], [2**62, 4], {"": 0}, {"a": {"a": {}}}]


def places(value, path=()):
    """Every path into a JSON document that has a value."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], path + (key,))
    elif isinstance(value, list):
        for index in range(min(len(value), 50)):
            yield from places(value[index], path + (index,))


def at(document, path):
    for step in path:
        document = document[step]
    return document


def damage_value(document, chance):
    """Another value, or none, in one place."""
    path = chance.choice(list(places(document)))
    holder, last = at(document, path[:-1]), path[-1]
    value, kind = holder[last], chance.randrange(6)
    if kind == 0:
        del holder[last]
    elif kind == 1 and isinstance(value, (int, float)):
        holder[last] = chance.choice([value + 1, value - 1, value * 2, value * 1000, -value])
    elif kind == 2:
        holder[last] = at(document, chance.choice(list(places(document))))
        json.dumps(document)    # throws where it would contain itself
    elif kind == 3 and isinstance(value, list) and value:
        holder[last] = value * chance.choice([2, 3, 100])
    else:
        holder[last] = copy.deepcopy(chance.choice(HOSTILE))


def damage_json(data, chance):
    try:
        document = json.loads(data)
        if isinstance(document, (dict, list)) and document:
            for _ in range(chance.choice([1, 1, 2, 4])):
                damage_value(document, chance)
        return json.dumps(document).encode()
    except (ValueError, RecursionError, IndexError):
        return data


def damage_bytes(data, chance):
    begin = chance.randrange(len(data) + 1)
    end = min(len(data), begin + chance.choice([1, 2, 8, 100, 5000]))
    piece = data[begin:end]
    other = chance.choice([b"", bytes(len(piece)), chance.randbytes(len(piece)), piece * 3, b"[" * 100000,
                           b"{\"a\":" * 5000, b"\xff", b"NaN", b"1e999", b"-", b"\"", b"\\u0000", b"}"])
    return data[:begin] + other + data[end:]


def damage_header(data, chance):
    """Of a safetensors file: its length, its JSON, or where the file ends."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8:8 + length], data[8 + length:]
    kind = chance.randrange(6)
    if kind == 0:
        lengths = [0, 1, length - 1, length + 1, 2**40, 2**63, 2**64 - 1]
        return (chance.choice(lengths) % 2**64).to_bytes(8, "little") + data[8:]
    if kind == 1:
        return data[:chance.choice([0, 4, 8, 8 + length // 2, 8 + length, len(data) - 1])]
    damaged = damage_bytes(header, chance) if kind == 2 else damage_json(header, chance)
    return len(damaged).to_bytes(8, "little") + damaged + rest


def damage_place(path, chance):
    """Something else under the file's name."""
    path.unlink()
    kind = chance.randrange(5)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        path.touch()


def damage(folder, chance):
    """Returns what was done, for the report."""
    done = []
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    settings = [name for name in SETTINGS if (folder / name).exists()]
    for _ in range(chance.choice([1, 2, 2, 3, 4])):
        name = chance.choice(settings + settings + weights[:2])
        path = folder / name
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        if chance.random() < 0.05:
            kind = damage_place
            damage_place(path, chance)
        else:
            kind = damage_header if name in weights else chance.choice([damage_json, damage_json, damage_bytes])
            path.write_bytes(kind(data, chance))
        done.append(f"{kind.__name__} {name}")
    return done


def make(folder, number):
    chance = random.Random(number)
    base = chance.choice(BASES).parent
    shutil.copytree(base, folder)
    for path in folder.iterdir():
        path.chmod(0o600)
    return [base.name] + damage(folder, chance)


def calls(folder, chance):
    ids = ["--tokens", folder / "fuzz-ids.json"]
    prompt = ["--prompt", "Once upon a time"] if (folder / "tokenizer.json").exists() else ids
    few = ["--threads", "1", "--ram", "900M", "--quiet"]
    yield ["generate", folder, *prompt, "--max-tokens", "2", "--temperature", "0", *few]
    yield chance.choice([["inspect", folder], ["inspect", folder, "--json"], ["tokenize", folder, "--text", "a b"],
                         ["perplexity", folder, *ids, *few]])


def fault_of(program, arguments):
    """What is wrong with how the program took it, or None."""
    environment = dict(os.environ, ASAN_OPTIONS="quarantine_size_mb=8:detect_leaks=0:allocator_may_return_null=1")
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as told:
        process = subprocess.Popen([program, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=out, stderr=told,
                                   env=environment)
        began, usage = time.monotonic(), None
        while usage is None:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                usage = used
            elif time.monotonic() - began > 12 * SECONDS:   # of the clock: others may use the machine
                process.kill()
                _, status, usage = os.wait4(process.pid, 0)
                return f"no end after {12 * SECONDS} s"
            else:
                time.sleep(0.002)
        process.returncode = status
        told.seek(0)
        text = told.read().decode(errors="replace")
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}: {text[-300:]}"
    if "Sanitizer" in text or "runtime error" in text:
        return text[:1500]
    if os.WEXITSTATUS(status) not in (0, 1, 2):
        return f"exit status {os.WEXITSTATUS(status)}: {text[-300:]}"
    if os.WEXITSTATUS(status) != 0 and not "".join(text.splitlines()[-1:]).startswith("sluice: "):
        return f"no line of the program says why: {text[-300:]!r}"
    if usage.ru_utime + usage.ru_stime > SECONDS:
        return f"{usage.ru_utime + usage.ru_stime:.1f} s of computing"
    if usage.ru_maxrss * 1024 > BYTES:
        return f"{usage.ru_maxrss >> 10} MB of memory"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.environ.get("SLUICE_PROGRAM", str(ROOT / "build/release/bin/sluice")))
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    failed = 0
    for number in range(options.first, options.first + options.runs):
        with tempfile.TemporaryDirectory(prefix="sluice-fuzz-") as holder:
            folder = Path(holder) / "model"
            done = make(folder, number)
            (folder / "fuzz-ids.json").write_text("[1, 2, 3, 4, 5, 6, 7, 8]")
            for arguments in calls(folder, random.Random(number)):
                fault = fault_of(options.program, arguments)
                if fault is None:
                    continue
                failed += 1
                print(f"FAIL {number} {arguments[0]} ({', '.join(done)}): {fault}", flush=True)
                if options.keep:
                    shutil.copytree(folder, options.keep / str(number), symlinks=True, dirs_exist_ok=True)
                break
    print(f"{options.runs - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
