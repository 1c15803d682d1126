#!/usr/bin/python3
"""Writes a GGUF file of Qwen3-30B-A3B's shape with random Q4_K weights, for timing llama.cpp beside Sluice.

usage: gguf_model.py FILE [LAYERS]   (12 layers: 4.3 GB)

The layout is that of llama.cpp's documentation of GGUF, version 3. Blocks of a tensor repeat after 16,384: that saves
minutes of drawing and changes no timing, since every block lies in memory of its own.
"""
import os
import random
import struct
import sys

HIDDEN, INNER, EXPERTS, TOP_K, VOCABULARY = 2048, 768, 128, 8, 151936
HEADS, KV_HEADS, HEAD_DIM = 32, 4, 128
F32, Q4_K = 0, 12  # ggml's numbers of the types
BLOCK_VALUES, BLOCK_BYTES = 256, 144
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
    """The 256 letters of byte-level BPE, then names that no text contains."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) if byte in printable else chr(256 + byte) for byte in range(256)]
    return letters + ["<%d>" % i for i in range(256, VOCABULARY)]


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


def tensors(layers):
    """(name, sizes with the fastest first, type)"""
    yield "token_embd.weight", (HIDDEN, VOCABULARY), Q4_K
    yield "output_norm.weight", (HIDDEN,), F32
    yield "output.weight", (HIDDEN, VOCABULARY), Q4_K
    of_layer = [
        ("attn_norm", (HIDDEN,), F32),
        ("attn_q", (HIDDEN, HEADS * HEAD_DIM), Q4_K),
        ("attn_k", (HIDDEN, KV_HEADS * HEAD_DIM), Q4_K),
        ("attn_v", (HIDDEN, KV_HEADS * HEAD_DIM), Q4_K),
        ("attn_q_norm", (HEAD_DIM,), F32),
        ("attn_k_norm", (HEAD_DIM,), F32),
        ("attn_output", (HEADS * HEAD_DIM, HIDDEN), Q4_K),
        ("ffn_norm", (HIDDEN,), F32),
        ("ffn_gate_inp", (HIDDEN, EXPERTS), F32),
        ("ffn_gate_exps", (HIDDEN, INNER, EXPERTS), Q4_K),
        ("ffn_up_exps", (HIDDEN, INNER, EXPERTS), Q4_K),
        ("ffn_down_exps", (INNER, HIDDEN, EXPERTS), Q4_K),
    ]
    for layer in range(layers):
        for name, sizes, kind in of_layer:
            yield "blk.%d.%s.weight" % (layer, name), sizes, kind


def count(sizes):
    values = 1
    for size in sizes:
        values *= size
    return values


def stored_bytes(sizes, kind):
    return 4 * count(sizes) if kind == F32 else count(sizes) // BLOCK_VALUES * BLOCK_BYTES


def random_blocks(blocks):
    """Q4_K: two half floats, scale and least value, then 12 bytes of their parts and 128 of values."""
    factors = struct.pack("<ee", 0.00014, 0.001)
    return b"".join(factors + random.randbytes(BLOCK_BYTES - len(factors)) for _ in range(blocks))


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
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.split("\n\n")[1])
    path, layers = sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 12
    random.seed(1)
    blocks = random_blocks(16384)
    listed = list(tensors(layers))
    fields = header_fields(layers)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(listed), len(fields))
    head += b"".join(metadata(*field) for field in fields)
    offset = 0
    for name, sizes, kind in listed:
        head += text(name) + struct.pack("<I%dQIQ" % len(sizes), len(sizes), *sizes, kind, offset)
        offset += -(-stored_bytes(sizes, kind) // ALIGNMENT) * ALIGNMENT
    partial = path + ".partial"
    with open(partial, "wb") as file:
        file.write(head.ljust(-(-len(head) // ALIGNMENT) * ALIGNMENT, b"\0"))
        for _, sizes, kind in listed:
            write_tensor(file, sizes, kind, blocks)
            file.write(b"\0" * (-stored_bytes(sizes, kind) % ALIGNMENT))
    os.rename(partial, path)


main()
