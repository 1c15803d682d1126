"""Decode and prefill as parts of their bounds: store_report.py MODEL RESIDENT.json PUBLISHED.json PACKED.json."""

import json
import sys


def expert_bytes(model):
    """Bytes of one expert, by the model's own config."""
    with open(f"{model}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    bits, group = config["quantization"]["bits"], config["quantization"]["group_size"]
    weights = 3 * config["hidden_size"] * config["moe_intermediate_size"]
    return weights * (bits / 8 + 4 / group)  # BF16 scale and bias


def row(name, tokens, streamed, resident, drive_s):
    """`streamed` and `resident` in tokens per second; `drive_s`: the drive's seconds for all of the tokens."""
    bound = tokens / max(drive_s, tokens / resident)
    drive = f"{tokens / drive_s:.1f}" if drive_s else "none read"
    print(f"| {name} | {streamed:.1f} | {resident:.1f} | {drive} | {100 * streamed / bound:.0f} % |")


def report(layout, resident, streamed, drive):
    prompt, speed = streamed["prompt_tokens"], "decode_tokens_per_s"
    row(f"decode, {layout}", 1, streamed[speed], resident[speed], streamed["decode_expert_bytes_per_token"] / drive)
    speed = "prefill_tokens_per_s"
    row(f"prefill of {prompt}, {layout}", prompt, streamed[speed], resident[speed], streamed["prefill_expert_bytes_read"] / drive)


def footer(layout, streamed, expert):
    text = (
        f"{layout}: {streamed['reader']}, direct I/O {streamed['direct_io']}; hit rate {100 * streamed['hit_rate']:.1f} %; "
        f"{streamed['peak_rss_bytes'] / 1e6:.0f} MB resident at most"
    )
    # A miss that joins a read ahead would count twice.
    if streamed["prefetch_reads"] == 0:
        ratio = streamed["expert_bytes_read"] / max(1, streamed["expert_misses"]) / expert
        text += f"; bytes read / experts missed x record: {ratio:.3f}"
    print(text)


def main():
    model, *paths = sys.argv[1:5]
    documents = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            documents.append(json.load(file))
    resident, published, packed = documents
    drive = max(published["disk_bandwidth_bytes_per_s"], packed["disk_bandwidth_bytes_per_s"])
    print("| | streamed tok/s | resident tok/s | drive bound tok/s | of the bound |")
    print("|---|---|---|---|---|")
    report("published", resident, published, drive)
    report("packed", resident, packed, drive)
    print(f"\ndrive {drive / 1e9:.2f} GB/s")
    footer("published", published, expert_bytes(model))
    footer("packed", packed, expert_bytes(model))


main()
