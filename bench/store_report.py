"""Decode and prefill as parts of their bounds: store_report.py MODEL RESIDENT.json STREAMED.json."""

import json
import sys


def expert_bytes(model):
    """Bytes of one expert, by the model's own config."""
    with open(f"{model}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    bits, group = config["quantization"]["bits"], config["quantization"]["group_size"]
    weights = 3 * config["hidden_size"] * config["moe_intermediate_size"]
    return weights * (bits / 8 + 4 / group)  # BF16 scale and bias


def report(resident, streamed, expert):
    drive = streamed["disk_bandwidth_bytes_per_s"]
    prompt = streamed["prompt_tokens"]
    decode_misses = streamed["decode_expert_bytes_per_token"]
    decode_s = max(decode_misses / drive, 1 / resident["decode_tokens_per_s"])
    prefill_bytes = streamed["prefill_expert_bytes_read"]
    prefill_s = max(prefill_bytes / drive, prompt / resident["prefill_tokens_per_s"])
    print("| | streamed tok/s | resident tok/s | drive bound tok/s | of the bound |")
    print("|---|---|---|---|---|")
    decode, prefill = streamed["decode_tokens_per_s"], streamed["prefill_tokens_per_s"]
    drive_decode = drive / decode_misses if decode_misses else float("inf")
    drive_prefill = prompt * drive / prefill_bytes if prefill_bytes else float("inf")
    print(f"| decode | {decode:.1f} | {resident['decode_tokens_per_s']:.1f} | {drive_decode:.1f} | {100 * decode * decode_s:.0f} % |")
    print(
        f"| prefill of {prompt} | {prefill:.1f} | {resident['prefill_tokens_per_s']:.1f} | {drive_prefill:.1f} "
        f"| {100 * prefill * prefill_s / prompt:.0f} % |"
    )
    print(
        f"\ndrive {drive / 1e9:.2f} GB/s ({streamed['reader']}, direct I/O {streamed['direct_io']}); hit rate "
        f"{100 * streamed['hit_rate']:.1f} %; {streamed['peak_rss_bytes'] / 1e6:.0f} MB resident at most; bytes read / experts "
        f"missed x record: {streamed['expert_bytes_read'] / max(1, streamed['expert_misses'] + streamed['prefetch_reads']) / expert:.3f}"
    )


def main():
    model, resident, streamed = sys.argv[1:4]
    documents = []
    for path in (resident, streamed):
        with open(path, encoding="utf-8") as file:
            documents.append(json.load(file))
    report(*documents, expert_bytes(model))


main()
