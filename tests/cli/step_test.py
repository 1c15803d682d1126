"""Step-3.7-Flash, of which no recorded outputs exist: a tiny checkpoint under the publisher's names against a forward
of its own in double precision, and that forward with each mistake that is easily made. See program.py."""
import json
import math
import random
import struct
import unittest

from program import ProgramTest, load_floats

HIDDEN, VOCABULARY, LAYERS, DIM, EXPERTS, TOP, INNER, SHARED, DENSE, WINDOW = 32, 48, 4, 16, 8, 3, 24, 20, 48, 9
FULL = [True, False, False, True]
THETA, FACTOR = {True: 5000.0, False: 100.0}, {True: 0.5, False: 1.0}
HEADS, GROUPS = {True: 4, False: 6}, 2
SCALING = {"rope_type": "llama3", "factor": 2.0, "original_max_position_embeddings": 64, "low_freq_factor": 1.0,
           "high_freq_factor": 8.0}
CUT, SHARED_CUT, SCALE = [0.0, 0.0, None, 0.5], [0.0, 0.0, 0.0, 0.75], 3.0
MISTAKES = ["no gates of heads", "a window of one more", "all dims rotate", "windows are stretched, too",
            "nothing is stretched", "one theta", "norms are not offsets", "the gate is cut before silu",
            "nothing is cut", "one cut for both", "the correction weighs", "no factor of the weights"]


def config():
    def of_layers(values):
        return [values[full] for full in FULL] + [values[False]]
    text = {"model_type": "step3p5", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY,
            "num_nextn_predict_layers": 1, "max_position_embeddings": 512, "num_attention_heads": HEADS[True],
            "num_attention_groups": GROUPS, "head_dim": DIM, "sliding_window": WINDOW,
            "attention_other_setting": {"attention_type": "sliding_attention", "num_attention_heads": HEADS[False],
                                        "num_attention_groups": GROUPS, "head_dim": DIM},
            "layer_types": of_layers({True: "full_attention", False: "sliding_attention"}),
            "rope_theta": of_layers(THETA), "partial_rotary_factors": of_layers(FACTOR), "rope_scaling": SCALING,
            "yarn_only_types": ["full_attention"], "intermediate_size": DENSE, "moe_layers_enum": "1,2,3,4",
            "moe_num_experts": EXPERTS, "moe_top_k": TOP, "moe_intermediate_size": INNER, "share_expert_dim": SHARED,
            "moe_router_scaling_factor": SCALE, "norm_expert_weight": True, "use_moe_router_bias": True,
            "moe_router_activation": "sigmoid", "use_head_wise_attn_gate": True, "swiglu_limits": CUT + [0.5],
            "swiglu_limits_shared": SHARED_CUT + [0.75]}
    return {"model_type": "step3p7", "text_config": text}


def random_tensors():
    draw = random.Random(5)
    tensors = {}

    def put(name, shape, gain=1.0, mean=None):
        scale = 0.1 if mean is not None else gain / math.sqrt(shape[-1])
        values = [draw.gauss(mean or 0.0, scale) for _ in range(math.prod(shape))]
        tensors[name] = shape, struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))

    def put_mlp(path, experts, inner):
        put(path + "gate_proj.weight", [*experts, inner, HIDDEN], 1.5)
        put(path + "up_proj.weight", [*experts, inner, HIDDEN], 1.5)
        put(path + "down_proj.weight", [*experts, HIDDEN, inner], 1.5)

    put("model.embed_tokens.weight", [VOCABULARY, HIDDEN], math.sqrt(HIDDEN))
    put("model.norm.weight", [HIDDEN], mean=0.0)
    put("lm_head.weight", [VOCABULARY, HIDDEN], 1.5)
    for layer, full in enumerate(FULL):
        path = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            put(f"{path}{norm}.weight", [HIDDEN], mean=0.0)
        for name, rows, gain in (("q", HEADS[full] * DIM, 2), ("k", GROUPS * DIM, 2), ("v", GROUPS * DIM, 1),
                                 ("g", HEADS[full], 1.5)):
            put(f"{path}self_attn.{name}_proj.weight", [rows, HIDDEN], gain)
        put(f"{path}self_attn.o_proj.weight", [HIDDEN, HEADS[full] * DIM])
        for norm in ("q_norm", "k_norm"):
            put(f"{path}self_attn.{norm}.weight", [DIM], mean=0.5)
        if layer == 0:
            put_mlp(path + "mlp.", [], DENSE)
            continue
        put(path + "moe.gate.weight", [EXPERTS, HIDDEN])
        put(path + "moe.router_bias", [EXPERTS], mean=0.3)
        put_mlp(path + "moe.", [EXPERTS], INNER)
        put_mlp(path + "share_expert.", [], SHARED)
    put(f"model.layers.{LAYERS}.eh_proj.weight", [HIDDEN, 2 * HIDDEN])
    return tensors


def write(folder, tensors):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    (folder / "config.json").write_text(json.dumps(config()))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


class Forward:
    def __init__(self, tensors, mistake=""):
        self.tensors, self.mistake = tensors, mistake

    def product(self, name, x, expert=0):
        shape, values = self.tensors[name + ".weight"]
        rows, columns = shape[-2:]
        first = expert * rows * columns
        return [sum(w * v for w, v in zip(values[at:at + columns], x))
                for at in range(first, first + rows * columns, columns)]

    def norm(self, name, x):
        offset = 0 if self.mistake == "norms are not offsets" else 1
        root = math.sqrt(sum(v * v for v in x) / len(x) + 1e-5)
        return [v / root * (offset + w) for v, w in zip(x, self.tensors[name + ".weight"][1])]

    def frequencies(self, full):
        dims = DIM if self.mistake == "all dims rotate" else int(DIM * FACTOR[full])
        theta = THETA[True if self.mistake == "one theta" else full]
        stretched = full if self.mistake != "windows are stretched, too" else True
        if self.mistake == "nothing is stretched":
            stretched = False
        for i in range(dims // 2):
            frequency = theta ** (-2 * i / dims)
            turns = SCALING["original_max_position_embeddings"] * frequency / (2 * math.pi)
            low, high = SCALING["low_freq_factor"], SCALING["high_freq_factor"]
            kept = min(max((turns - low) / (high - low), 0), 1) if stretched else 1
            yield frequency * (kept + (1 - kept) / SCALING["factor"])

    @staticmethod
    def rotate(x, position, frequencies):
        out, half = list(x), len(frequencies)
        for i, frequency in enumerate(frequencies):
            c, s = math.cos(position * frequency), math.sin(position * frequency)
            out[i], out[i + half] = x[i] * c - x[i + half] * s, x[i + half] * c + x[i] * s
        return out

    def attention(self, layer, rows):
        path, full = f"model.layers.{layer}.self_attn.", FULL[layer]
        window = WINDOW + (self.mistake == "a window of one more")
        frequencies = list(self.frequencies(full))

        def heads(values):
            return [values[i:i + DIM] for i in range(0, len(values), DIM)]

        def placed(name, x, position):
            return [self.rotate(self.norm(f"{path}{name}_norm", head), position, frequencies)
                    for head in heads(self.product(f"{path}{name}_proj", x))]
        keys = [placed("k", x, t) for t, x in enumerate(rows)]
        values = [heads(self.product(path + "v_proj", x)) for x in rows]
        for t, x in enumerate(rows):
            first = 0 if full else max(0, t - window + 1)
            gates = self.product(path + "g_proj", x)
            mixed = []
            for head, query in enumerate(placed("q", x, t)):
                group = head * GROUPS // HEADS[full]
                weights = [math.exp(sum(q * k for q, k in zip(query, keys[j][group])) / math.sqrt(DIM))
                           for j in range(first, t + 1)]
                gate = 1 if self.mistake == "no gates of heads" else sigmoid(gates[head])
                mixed += [gate * sum(w * values[first + j][group][d] for j, w in enumerate(weights)) / sum(weights)
                          for d in range(DIM)]
            yield self.product(path + "o_proj", mixed)

    def mlp(self, path, x, limit, expert=0):
        inner = []
        limit = math.inf if self.mistake == "nothing is cut" or not limit else limit
        for gate, up in zip(self.product(path + "gate_proj", x, expert), self.product(path + "up_proj", x, expert)):
            if self.mistake == "the gate is cut before silu":
                gate = min(gate, limit)
            inner.append(min(gate * sigmoid(gate), limit) * max(-limit, min(limit, up)))
        return self.product(path + "down_proj", inner, expert)

    def feed_forward(self, layer, x):
        path = f"model.layers.{layer}."
        if layer == 0:
            return self.mlp(path + "mlp.", x, SHARED_CUT[layer])
        shared_cut = CUT[layer] if self.mistake == "one cut for both" else SHARED_CUT[layer]
        out = self.mlp(path + "share_expert.", x, shared_cut)
        scores = [sigmoid(z) for z in self.product(path + "moe.gate", x)]
        corrected = [s + b for s, b in zip(scores, self.tensors[path + "moe.router_bias"][1])]
        chosen = sorted(range(EXPERTS), key=lambda e: -corrected[e])[:TOP]
        weights = corrected if self.mistake == "the correction weighs" else scores
        scale = (1 if self.mistake == "no factor of the weights" else SCALE) / sum(weights[e] for e in chosen)
        for expert in chosen:
            part = self.mlp(path + "moe.", x, CUT[layer], expert)
            out = [a + scale * weights[expert] * b for a, b in zip(out, part)]
        return out

    def logits(self, ids):
        table = self.tensors["model.embed_tokens.weight"][1]
        rows = [list(table[t * HIDDEN:(t + 1) * HIDDEN]) for t in ids]
        for layer in range(LAYERS):
            path = f"model.layers.{layer}."
            added = self.attention(layer, [self.norm(path + "input_layernorm", x) for x in rows])
            rows = [[a + b for a, b in zip(x, y)] for x, y in zip(rows, added)]
            added = [self.feed_forward(layer, self.norm(path + "post_attention_layernorm", x)) for x in rows]
            rows = [[a + b for a, b in zip(x, y)] for x, y in zip(rows, added)]
        return [z for x in rows for z in self.product("lm_head", self.norm("model.norm", x))]


class StepTest(ProgramTest):
    def test_logits_are_those_of_the_formulas(self):
        tensors = random_tensors()
        write(self.folder, tensors)
        draw = random.Random(8)
        ids = [draw.randrange(VOCABULARY) for _ in range(22)]
        (self.folder / "ids.json").write_text(json.dumps(ids))
        expected = Forward(tensors).logits(ids)
        for flags in ([], ["--chunk", "7"], ["--chunk", "1"]):
            out = self.folder / "out.safetensors"
            self.succeed("logits", self.folder, "--tokens", self.folder / "ids.json", "--output", out, "--exact",
                         *flags)
            got = load_floats(out)["logits"][1]
            self.assertLess(max(abs(a - b) for a, b in zip(got, expected)), 1e-4, flags)
        for mistake in MISTAKES:
            wrong = Forward(tensors, mistake).logits(ids)
            self.assertGreater(max(abs(a - b) for a, b in zip(wrong, expected)), 1e-2, mistake)


if __name__ == "__main__":
    unittest.main()
