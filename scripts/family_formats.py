"""Every family in every published quantization: family_formats.py SLUICE FOLDER CONFIG... [--only FORMAT].

CONFIG is a folder with a small config.json, or that file; `sluice synth` makes random BF16 weights of its shape in
FOLDER, widths rounded up to 128. Each format of the table below then stores what its tools quantize (all projections,
or the experts alone); logits must be those of the same values as plain float32. Needs numpy. Prints a line for each
that differs or does not run, and ends in `N passed, M failed`.
"""

import argparse
import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys

import numpy as np

TOLERANCE = 1e-3  # of the root mean square of the logits
TYPES = {
    "F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U8": np.uint8, "U32": np.uint32, "I32": np.int32,
    "I64": np.int64, "F8_E4M3": np.uint8, "F8_E8M0": np.uint8,
}  # fmt: skip
WIDTHS = [
    "hidden_size", "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size", "intermediate_size_mlp", "kv_lora_rank", "q_lora_rank", "o_lora_rank",
    "moe_latent_size",
]  # fmt: skip
KEPT = re.compile(r"embed|lm_head|(^|\.)head\.weight|norm|conv|router|\.gate\.weight|shared_expert_gate|ngram|hc_|"
                  r"weights_proj|per_layer")  # fmt: skip


# Safetensors: {name: (dtype, array)}.
def load(folder):
    tensors = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        raw = file.read_bytes()
        begin = 8 + struct.unpack("<Q", raw[:8])[0]
        for name, entry in json.loads(raw[8:begin]).items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                data = np.frombuffer(raw[begin + first : begin + last], dtype=TYPES[entry["dtype"]])
                tensors[name] = entry["dtype"], data.reshape(entry["shape"])
    return tensors


def save(folder, tensors, config):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    header, blobs, offset = {}, [], 0
    for name, (dtype, data) in tensors.items():
        blobs.append(np.ascontiguousarray(data).tobytes())
        header[name] = {"dtype": dtype, "shape": list(data.shape), "data_offsets": [offset, offset + len(blobs[-1])]}
        offset += len(blobs[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    (folder / "config.json").write_text(json.dumps(config))


def to_bf16(values):
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def of_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def rounded(values):
    return of_bf16(to_bf16(values))


def e4m3(code):
    sign, exponent, mantissa = -1 if code & 128 else 1, (code >> 3) & 15, code & 7
    if code & 127 == 127:
        return np.nan
    return sign * (mantissa / 8 * 2.0**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


E4M3 = np.array([e4m3(code) for code in range(256)], np.float32)
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


# The codes of the nearest values of a table; a negative zero is not used.
def nearest(values, table):
    usable = np.where(np.isnan(table) | ((table == 0) & (np.arange(len(table)) > 0)), np.float32(1e9), table)
    order = np.argsort(usable, kind="stable")
    ascending = usable[order]
    at = np.clip(np.searchsorted(ascending, values), 1, len(ascending) - 1)
    below = np.abs(ascending[at - 1] - values) <= np.abs(ascending[at] - values)
    return order[np.where(below, at - 1, at)].astype(np.uint8)


def to_e4m3(values):
    return nearest(np.clip(values, -448, 448), E4M3)


# [rows, columns] of codes to words, `order` being the place of each of a word's codes.
def packed(codes, bits, order=None):
    count = 32 // bits
    words = np.zeros((codes.shape[0], codes.shape[1] // count), np.uint32)
    for place, column in enumerate(order or range(count)):
        words |= codes[:, column::count].astype(np.uint32) << (bits * place)
    return words


def nibbles(codes):
    return (codes[..., 0::2] | (codes[..., 1::2] << 4)).astype(np.uint8)


def grouped(weight, size):
    return weight.reshape(weight.shape[0], -1, size)


# Each takes [out, in] and gives {suffix: (dtype, data)} with the values that these stand for.
def fp8_blocks(weight, scales="F32"):
    padded = np.zeros([-(-n // 128) * 128 for n in weight.shape], np.float32)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    blocks = padded.reshape(padded.shape[0] // 128, 128, -1, 128)
    scale = np.maximum(np.abs(blocks).max((1, 3)) / 448, 1e-8).astype(np.float32)
    stored = {
        "F32": lambda: (scale, scale),
        "BF16": lambda: (rounded(scale), to_bf16(scale)),
        "F8_E8M0": lambda: (2.0 ** np.ceil(np.log2(scale)), (np.ceil(np.log2(scale)) + 127).astype(np.uint8)),
    }
    factor, data = stored[scales]()
    whole = np.repeat(np.repeat(factor, 128, 0), 128, 1)[: weight.shape[0], : weight.shape[1]].astype(np.float32)
    codes = to_e4m3(weight / whole)
    return {".weight": ("F8_E4M3", codes), ".weight_scale_inv": (scales, data)}, E4M3[codes] * whole


def fp8_rows(weight, by_row):
    scale = rounded((np.abs(weight).max(1, keepdims=True) if by_row else np.abs(weight).max().reshape(1)) / 448 + 1e-8)
    codes = to_e4m3(weight / scale)
    return {".weight": ("F8_E4M3", codes), ".weight_scale": ("BF16", to_bf16(scale))}, E4M3[codes] * scale


# Codes, scales and zero points of groups; `store` rounds scales as the file does.
def integers(weight, size, bits, symmetric, store, least_zero=0):
    groups, most = grouped(weight, size), 2**bits - 1
    if symmetric:
        scale = store(np.abs(groups).max(-1, keepdims=True) / (2 ** (bits - 1) - 0.5) + 1e-6)
        zero = np.full(scale.shape, 2 ** (bits - 1))
    else:
        low = np.minimum(groups.min(-1, keepdims=True), 0)
        scale = store((np.maximum(groups.max(-1, keepdims=True), 0) - low) / most + 1e-6)
        zero = np.clip(np.round(-low / scale), least_zero, most).astype(int)
    codes = np.clip(np.round(groups / scale) + zero, 0, most).astype(int)
    values = ((codes - zero) * scale).reshape(weight.shape).astype(np.float32)
    return codes.reshape(weight.shape), scale[..., 0], zero[..., 0], values


def half(values):
    return values.astype(np.float16).astype(np.float32)


def compressed_integers(weight, size, bits=4, symmetric=True):
    codes, scale, zero, values = integers(weight, size, bits, symmetric, rounded)
    tensors = {
        ".weight_packed": ("I32", packed(codes, bits).view(np.int32)),
        ".weight_scale": ("BF16", to_bf16(scale)),
        ".weight_shape": ("I64", np.array(weight.shape, np.int64)),
    }
    if not symmetric:
        tensors[".weight_zero_point"] = ("I32", np.ascontiguousarray(packed(zero.T, bits).T).view(np.int32))
    return tensors, values


def awq(weight, size):
    codes, scale, zero, values = integers(weight, size, 4, False, half)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    return {
        ".qweight": ("I32", packed(codes.T, 4, order).view(np.int32)),
        ".qzeros": ("I32", packed(zero.T, 4, order).view(np.int32)),
        ".scales": ("F16", scale.T.astype(np.float16)),
    }, values


def gptq(weight, size, bits=4, symmetric=True, version=1):
    codes, scale, zero, values = integers(weight, size, bits, symmetric, half, least_zero=1)
    stored = zero.T - (1 if version == 1 else 0)
    return {
        ".qweight": ("I32", np.ascontiguousarray(packed(codes, bits).T).view(np.int32)),
        ".qzeros": ("I32", packed(stored, bits).view(np.int32)),
        ".scales": ("F16", scale.T.astype(np.float16)),
        ".g_idx": ("I32", (np.arange(weight.shape[1]) // size).astype(np.int32)),
    }, values


def nvfp4(weight, names, divides):
    groups = grouped(weight, 16)
    common = np.float32(np.abs(weight).max() / (6 * 448) + 1e-12)
    scale = np.maximum(to_e4m3(np.abs(groups).max(-1) / 6 / common), 1)
    stored = np.float32(1 / common) if divides else common
    factor = E4M3[scale] / stored if divides else E4M3[scale] * stored
    codes = nearest(np.clip(groups / factor[..., None], -6, 6), E2M1)
    values = (E2M1[codes] * factor[..., None]).reshape(weight.shape).astype(np.float32)
    data, scales, whole, activations = names
    shape = (1,) if divides else ()
    return {
        data: ("U8", nibbles(codes.reshape(weight.shape))),
        scales: ("F8_E4M3", scale.astype(np.uint8)),
        whole: ("F32", stored.reshape(shape)),
        activations: ("F32", np.float32(1.5).reshape(shape)),
    }, values


def mlx_affine(weight, size, bits):
    groups = grouped(weight, size)
    low = rounded(groups.min(-1, keepdims=True))
    scale = rounded((groups.max(-1, keepdims=True) - low) / (2**bits - 1) + 1e-8)
    codes = np.clip(np.round((groups - low) / scale), 0, 2**bits - 1)
    stream = (codes.astype(np.uint64)[..., None] >> np.arange(bits, dtype=np.uint64)) & 1
    data = np.packbits(stream.astype(np.uint8).reshape(weight.shape[0], -1), axis=-1, bitorder="little")
    return {
        ".weight": ("U32", np.ascontiguousarray(data).view(np.uint32)),
        ".scales": ("BF16", to_bf16(scale[..., 0])),
        ".biases": ("BF16", to_bf16(low[..., 0])),
    }, (codes * scale + low).reshape(weight.shape).astype(np.float32)


def mlx_fp4(weight, size):
    groups = grouped(weight, size)
    largest = np.abs(groups).max(-1) / 6 + 1e-12
    if size == 32:
        stored = (np.ceil(np.log2(largest)) + 127).astype(np.uint8)
        scale = (2.0 ** np.ceil(np.log2(largest))).astype(np.float32)
    else:
        stored = np.maximum(to_e4m3(largest), 1).astype(np.uint8)
        scale = E4M3[stored]
    codes = nearest(np.clip(groups / scale[..., None], -6, 6), E2M1)
    data = np.ascontiguousarray(nibbles(codes.reshape(weight.shape))).view(np.uint32)
    values = (E2M1[codes] * scale[..., None]).reshape(weight.shape).astype(np.float32)
    return {".weight": ("U32", data), ".scales": ("U8", stored)}, values


def compressed(layout, **weights):
    group = {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}}
    return lambda kept: {"quant_method": "compressed-tensors", "format": layout, "config_groups": group, "ignore": kept}


def fp8_config(kept):
    return {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
            "modules_to_not_convert": kept}  # fmt: skip


def modelopt_config(kept):
    group = {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float", "group_size": 16}}}
    return {"quant_method": "modelopt", "quant_algo": "NVFP4", "config_groups": group, "ignore": kept}


def awq_config(size):
    return lambda kept: {"quant_method": "awq", "bits": 4, "group_size": size, "zero_point": True, "version": "gemm",
                         "modules_to_not_convert": kept}  # fmt: skip


def gptq_config(size, bits=4, symmetric=True, layout="gptq"):
    return lambda kept: {"quant_method": "gptq", "bits": bits, "group_size": size, "sym": symmetric, "desc_act": False,
                         "checkpoint_format": layout}  # fmt: skip


def mlx_config(size, bits, mode="affine"):
    return lambda kept: {"group_size": size, "bits": bits, "mode": mode}


def ct_fp8(by_row):
    strategy = "channel" if by_row else "tensor"
    said = compressed("float-quantized", num_bits=8, type="float", strategy=strategy)
    return lambda w: fp8_rows(w, by_row), said


def ct_integers(size, bits=4, symmetric=True):
    how = {"strategy": "group", "group_size": size, "symmetric": symmetric}
    said = compressed("pack-quantized", num_bits=bits, type="int", **how)
    return lambda w: compressed_integers(w, size, bits, symmetric), said


CT_NVFP4 = (".weight_packed", ".weight_scale", ".weight_global_scale", ".input_global_scale")
CT_NVFP4_CONFIG = compressed("nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group", group_size=16)
MODELOPT_NVFP4 = (".weight", ".weight_scale", ".weight_scale_2", ".input_scale")
# Name: how a weight is stored, and what config.json says of it given the modules that are not.
FORMATS = {
    "fp8": (fp8_blocks, fp8_config),
    "fp8, BF16 scales": (lambda w: fp8_blocks(w, "BF16"), fp8_config),
    "fp8, E8M0 scales": (lambda w: fp8_blocks(w, "F8_E8M0"), fp8_config),
    "ct fp8 by row": ct_fp8(by_row=True),
    "ct fp8 by tensor": ct_fp8(by_row=False),
    "ct int4, 32": ct_integers(32),
    "ct int4, 128": ct_integers(128),
    "ct int4, zero points": ct_integers(32, symmetric=False),
    "ct int8, 32": ct_integers(32, bits=8),
    "ct nvfp4": (lambda w: nvfp4(w, CT_NVFP4, True), CT_NVFP4_CONFIG),
    "modelopt nvfp4": (lambda w: nvfp4(w, MODELOPT_NVFP4, False), modelopt_config),
    "awq, 128": (lambda w: awq(w, 128), awq_config(128)),
    "awq, 32": (lambda w: awq(w, 32), awq_config(32)),
    "gptq, 128": (lambda w: gptq(w, 128), gptq_config(128)),
    "gptq, zero points": (lambda w: gptq(w, 32, 4, False), gptq_config(32, symmetric=False)),
    "gptq v2": (lambda w: gptq(w, 64, version=2), gptq_config(64, layout="gptq_v2")),
    "gptq, 8 bits": (lambda w: gptq(w, 128, 8), gptq_config(128, bits=8)),
    "mlx 2 bits": (lambda w: mlx_affine(w, 128, 2), mlx_config(128, 2)),
    "mlx 3 bits": (lambda w: mlx_affine(w, 64, 3), mlx_config(64, 3)),
    "mlx 4 bits": (lambda w: mlx_affine(w, 64, 4), mlx_config(64, 4)),
    "mlx 5 bits": (lambda w: mlx_affine(w, 32, 5), mlx_config(32, 5)),
    "mlx 6 bits": (lambda w: mlx_affine(w, 64, 6), mlx_config(64, 6)),
    "mlx 8 bits": (lambda w: mlx_affine(w, 64, 8), mlx_config(64, 8)),
    "mlx mxfp4": (lambda w: mlx_fp4(w, 32), mlx_config(32, 4, "mxfp4")),
    "mlx nvfp4": (lambda w: mlx_fp4(w, 16), mlx_config(16, 4, "nvfp4")),
}  # fmt: skip


class Bench:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ids.json").write_text(json.dumps([1, 5, 9, 2, 7, 3, 30, 11, 4, 8, 6, 10]))

    def run(self, *arguments):
        command = [self.program, *map(str, arguments), "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip() or f"status {done.returncode}")

    def logits(self, model):
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        self.run("logits", model, "--tokens", self.folder / "ids.json", "--output", out / "o.safetensors", "--exact")
        return next(data for name, (_, data) in load(out).items() if "logits" in name)

    # BF16 weights of the shape, in a folder.
    def shape(self, config_file):
        config = json.loads(config_file.read_text())
        settings = config.get("text_config", config)
        for name in WIDTHS:
            if settings.get(name):
                settings[name] = -(-settings[name] // 128) * 128
        folder = self.folder / "config"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        shutil.rmtree(self.folder / "base", ignore_errors=True)
        self.run("synth", folder, self.folder / "base", "--quantize", "bf16")
        return self.folder / "base"

    # What is wrong with a format, or nothing.
    def compare(self, base, config, chosen, how, config_of):
        quantized, plain = {}, {}
        for name, (dtype, data) in base.items():
            if name not in chosen:
                quantized[name] = plain[name] = dtype, data
                continue
            tensors, values = how(of_bf16(data))
            quantized.update({name.removesuffix(".weight") + suffix: tensor for suffix, tensor in tensors.items()})
            plain[name] = "F32", values
        others = (name for name, (_, data) in base.items() if data.ndim == 2 and name not in chosen)
        said = config_of([name.removesuffix(".weight") for name in others])
        key = "quantization_config" if "quant_method" in said else "quantization"
        save(self.folder / "quantized", quantized, {**config, key: said})
        save(self.folder / "plain", plain, config)
        try:
            ours, wanted = self.logits(self.folder / "quantized"), self.logits(self.folder / "plain")
        except RuntimeError as error:
            return str(error)[-300:]
        difference = np.abs(ours - wanted).max() / np.sqrt((wanted**2).mean())
        return None if difference < TOLERANCE else f"logits differ by {difference:.2g}"


# What tools quantize: projections, not embeddings, routers and the like.
def projections(base):
    return [
        name for name, (dtype, data) in base.items()
        if name.endswith(".weight") and dtype == "BF16" and data.ndim == 2 and not KEPT.search(name)
        and data.shape[1] % 128 == 0 and data.shape[0] % 32 == 0
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("configs", nargs="+", type=pathlib.Path)
    parser.add_argument("--only", action="append", choices=FORMATS, help="may be given again")
    arguments = parser.parse_args()
    bench = Bench(arguments.program, arguments.folder)
    passed = failed = 0
    for path in arguments.configs:
        folder = bench.shape(path / "config.json" if path.is_dir() else path)
        base, config = load(folder), json.loads((folder / "config.json").read_text())
        everything = projections(base)
        experts = [name for name in everything if "expert" in name and "shared" not in name]
        for name in arguments.only or FORMATS:
            for scope, chosen in ("projections", everything), ("experts alone", experts):
                wrong = bench.compare(base, config, set(chosen), *FORMATS[name])
                passed, failed = passed + (wrong is None), failed + (wrong is not None)
                if wrong is not None:
                    print(f"FAIL {path.name}, {name}, {scope}: {wrong}", flush=True)
        print(f"{path.name}: {len(everything)} projections", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
