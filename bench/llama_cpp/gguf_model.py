#!/usr/bin/python3
"""Writes a GGUF file of Qwen3-30B-A3B's shape with random weights, for timing llama.cpp beside Sluice.

12 layers of the mix q4_k are 4.3 GB. A mix says which tensor is of which type: q4_k alone, or one of those that are
published: q4_k_m, q2_k_xl, iq2_xxs. The layout is that of llama.cpp's documentation of GGUF, version 3. Blocks of a
type repeat after 16,384: that saves minutes of drawing and changes no timing, since every block lies in memory of its
own.
"""
import argparse
import os
import random
import struct
import sys

HIDDEN, INNER, EXPERTS, TOP_K, VOCABULARY = 2048, 768, 128, 8, 151936
HEADS, KV_HEADS, HEAD_DIM = 32, 4, 128
F32 = "f32"
BLOCK_VALUES = 256
# ggml's number of a type, the bytes of a block, and the half floats in it: where, and such that values are about 0.02.
TYPES = {
    F32: (0, 0, {}),
    "q2_k": (10, 84, {80: 0.0017, 82: 0.0026}),
    "q3_k": (11, 110, {108: 0.0005}),
    "q4_k": (12, 144, {0: 0.00014, 2: 0.001}),
    "q5_k": (13, 176, {0: 0.00007, 2: 0.0011}),
    "q6_k": (14, 210, {208: 0.000015}),
    "iq2_xxs": (16, 66, {0: 0.0005}),
    "iq3_xxs": (18, 98, {0: 0.00017}),
}
# The type of each tensor by its name, of the even and of the odd layers; what is not named is as "".
MIXES = {
    "q4_k": {"": ("q4_k", "q4_k")},
    "q4_k_m": {"": ("q4_k", "q4_k"), "output": ("q6_k", "q6_k"), "attn_v": ("q6_k", "q4_k"),
               "ffn_down_exps": ("q6_k", "q4_k")},
    "q2_k_xl": {"": ("q4_k", "q4_k"), "output": ("q6_k", "q6_k"), "attn_v": ("q5_k", "q5_k"),
                "ffn_gate_exps": ("q2_k", "q2_k"), "ffn_up_exps": ("q2_k", "q2_k"), "ffn_down_exps": ("q3_k", "q3_k")},
    "iq2_xxs": {"": ("q4_k", "q4_k"), "token_embd": ("q2_k", "q2_k"), "output": ("q5_k", "q5_k"),
                "ffn_gate_exps": ("iq2_xxs", "iq2_xxs"), "ffn_up_exps": ("iq2_xxs", "iq2_xxs"),
                "ffn_down_exps": ("iq3_xxs", "iq2_xxs")},
}
ALIGNMENT = 32
UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9  # GGUF's numbers of metadata types


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def metadata(key, kind, value):
    head = text(key) + struct.pack("<I", kind)
    if kind == UINT32:
        return head + struct.pack("<I", value)
    if kind == FLOAT32:
        return head + struct.pack("<f", value)
    if kind == STRING:
        return head + text(value)
    items = [text(item) if isinstance(item, str) else struct.pack("<i", item) for item in value]
    of = STRING if isinstance(value[0], str) else INT32
    return head + struct.pack("<IQ", of, len(items)) + b"".join(items)


def vocabulary():
    """The 256 letters of byte-level BPE, what the one merge makes, then names that no text contains."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) if byte in printable else chr(256 + byte) for byte in range(256)]
    return letters + ["<2"] + ["<%d>" % i for i in range(257, VOCABULARY)]


def header_fields(layers):
    shape = "qwen3moe."
    return [
        ("general.architecture", STRING, "qwen3moe"),
        ("general.name", STRING, "random weights"),
        (shape + "block_count", UINT32, layers),
        (shape + "context_length", UINT32, 32768),
        (shape + "embedding_length", UINT32, HIDDEN),
        (shape + "feed_forward_length", UINT32, 6144),
        (shape + "attention.head_count", UINT32, HEADS),
        (shape + "attention.head_count_kv", UINT32, KV_HEADS),
        (shape + "attention.key_length", UINT32, HEAD_DIM),
        (shape + "attention.value_length", UINT32, HEAD_DIM),
        (shape + "attention.layer_norm_rms_epsilon", FLOAT32, 1e-6),
        (shape + "rope.freq_base", FLOAT32, 1e6),
        (shape + "expert_count", UINT32, EXPERTS),
        (shape + "expert_used_count", UINT32, TOP_K),
        (shape + "expert_feed_forward_length", UINT32, INNER),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "qwen2"),
        ("tokenizer.ggml.tokens", ARRAY, vocabulary()),
        ("tokenizer.ggml.token_type", ARRAY, [1] * VOCABULARY),
        ("tokenizer.ggml.merges", ARRAY, ["< 2"]),
        ("tokenizer.ggml.bos_token_id", UINT32, VOCABULARY - 2),
        ("tokenizer.ggml.eos_token_id", UINT32, VOCABULARY - 1),
    ]


def tensors(layers, mix):
    """(name, sizes with the fastest first, type)"""

    def of_mix(name, layer=0):
        return MIXES[mix].get(name, MIXES[mix][""])[layer % 2]

    yield "token_embd.weight", (HIDDEN, VOCABULARY), of_mix("token_embd")
    yield "output_norm.weight", (HIDDEN,), F32
    yield "output.weight", (HIDDEN, VOCABULARY), of_mix("output")
    small = {"attn_norm": (HIDDEN,), "attn_q_norm": (HEAD_DIM,), "attn_k_norm": (HEAD_DIM,), "ffn_norm": (HIDDEN,),
             "ffn_gate_inp": (HIDDEN, EXPERTS)}
    large = {
        "attn_q": (HIDDEN, HEADS * HEAD_DIM),
        "attn_k": (HIDDEN, KV_HEADS * HEAD_DIM),
        "attn_v": (HIDDEN, KV_HEADS * HEAD_DIM),
        "attn_output": (HEADS * HEAD_DIM, HIDDEN),
        "ffn_gate_exps": (HIDDEN, INNER, EXPERTS),
        "ffn_up_exps": (HIDDEN, INNER, EXPERTS),
        "ffn_down_exps": (INNER, HIDDEN, EXPERTS),
    }
    for layer in range(layers):
        for name, sizes in small.items():
            yield "blk.%d.%s.weight" % (layer, name), sizes, F32
        for name, sizes in large.items():
            yield "blk.%d.%s.weight" % (layer, name), sizes, of_mix(name, layer)


def count(sizes):
    values = 1
    for size in sizes:
        values *= size
    return values


def stored_bytes(sizes, kind):
    return 4 * count(sizes) if kind == F32 else count(sizes) // BLOCK_VALUES * TYPES[kind][1]


def random_blocks(kind, blocks):
    _, size, factors = TYPES[kind]
    drawn = bytearray(random.randbytes(blocks * size))
    for start in range(0, len(drawn), size):
        for place, value in factors.items():
            struct.pack_into("<e", drawn, start + place, value)
    return bytes(drawn)


def write_tensor(file, sizes, kind, blocks):
    if kind == F32:
        if len(sizes) == 1:
            file.write(struct.pack("<f", 1.0) * sizes[0])
        else:
            file.write(struct.pack("<%df" % count(sizes), *(random.gauss(0, 0.02) for _ in range(count(sizes)))))
        return
    left = stored_bytes(sizes, kind)
    while left > 0:
        left -= file.write(blocks[:left])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("layers", nargs="?", type=int, default=12)
    parser.add_argument("mix", nargs="?", choices=MIXES, default="q4_k")
    asked = parser.parse_args()
    random.seed(1)
    listed = list(tensors(asked.layers, asked.mix))
    blocks = {kind: random_blocks(kind, 16384) for kind in {kind for _, _, kind in listed} - {F32}}
    fields = header_fields(asked.layers)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(listed), len(fields))
    head += b"".join(metadata(*field) for field in fields)
    offset = 0
    for name, sizes, kind in listed:
        head += text(name) + struct.pack("<I%dQIQ" % len(sizes), len(sizes), *sizes, TYPES[kind][0], offset)
        offset += -(-stored_bytes(sizes, kind) // ALIGNMENT) * ALIGNMENT
    partial = asked.file + ".partial"
    with open(partial, "wb") as file:
        file.write(head.ljust(-(-len(head) // ALIGNMENT) * ALIGNMENT, b"\0"))
        for _, sizes, kind in listed:
            write_tensor(file, sizes, kind, blocks.get(kind))
            file.write(b"\0" * (-stored_bytes(sizes, kind) % ALIGNMENT))
    os.rename(partial, asked.file)


main()
