#!/bin/sh
# What n-gram rows on a drive cost a token of Qwen3.8-Flash-Next: four layers of its shape at 4 bit with fewer experts,
# so that all fit in memory, and a table of 1 GB filled with random rows. Usage: bench/row_table.sh FOLDER [TOKENS].
# FOLDER is on the drive that is measured. The table is 102 GB in the published model; rows of both lie alone in their
# pages.
set -eu
[ $# -ge 1 ] || { echo "usage: bench/row_table.sh FOLDER [TOKENS]" >&2; exit 2; }
folder=$1
build=${BUILD:-build/release}
if [ ! -f "$folder/model/config.json" ]; then
    "$build/bin/sluice" synth qwen3.8-flash-next "$folder/shape" --config-only --layers 4 --quiet
    python3 -c '
import json, sys
config = json.load(open(sys.argv[1]))
config["text_config"] |= {"num_experts": 64, "ngram_vocab_size_base": 200000, "split_ngram_parts": 8}
for key in "quantization", "quantization_config": config.pop(key, None)
json.dump(config, open(sys.argv[1], "w"))' "$folder/shape/config.json"
    "$build/bin/sluice" synth "$folder/shape/config.json" "$folder/model" --quiet
    # Its table is a hole, which no drive is asked for.
    python3 -c '
import json, os, pathlib, struct, sys
for path in pathlib.Path(sys.argv[1]).glob("*.safetensors"):
    with open(path, "r+b") as file:
        begin = 8 + struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(begin - 8))
        for name, entry in header.items():
            if "ngram_embedding.shard" in name:
                first, last = entry["data_offsets"]
                file.seek(begin + first)
                small = bytes([0, 0x3C] * (1 << 19))  # BF16: the high byte of 2^-7
                for at in range(first, last, 1 << 20):
                    bytes_now = min(1 << 20, last - at)
                    noise = bytearray(small[:bytes_now])
                    noise[::2] = os.urandom((bytes_now + 1) // 2)
                    file.write(noise)
        file.flush()
        os.fsync(file.fileno())' "$folder/model"
fi
exec "$build/bench/row_table_bench" "$folder/model" ${2:-}
