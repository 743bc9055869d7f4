#!/usr/bin/env python3
"""Makes test/reference/checkpoints: small checkpoints with random weights, and figures from NumPy.

Needs torch, transformers, peft, safetensors, onnx and onnxruntime; the tests do not.
    python3 test/reference/checkpoints.py
"""
import json, pathlib, shutil
import numpy as np, torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, GPT2Config, GPT2LMHeadModel
import onnxruntime as ort

HERE = pathlib.Path(__file__).parent / "checkpoints"
shutil.rmtree(HERE, ignore_errors=True)
HERE.mkdir()
torch.manual_seed(0)

# A decoder with grouped queries, in two files, and its export.
llama = LlamaForCausalLM(LlamaConfig(vocab_size=40, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=6,
                                     num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=False, attn_implementation="eager")).eval()
llama.save_pretrained(HERE / "llama", max_shard_size="16KB")
class Logits(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, ids, mask):
        return self.inner(ids, attention_mask=mask, use_cache=False).logits
torch.onnx.export(Logits(llama), (torch.zeros(1, 5, dtype=torch.long), torch.ones(1, 5, dtype=torch.long)), HERE / "llama.onnx", dynamo=False, input_names=["ids", "mask"], output_names=["logits"],
                  do_constant_folding=False, opset_version=17)

# GPT-2: Conv1D, in x out, with queries, keys and values side by side.
gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_positions=16, n_embd=12, n_layer=1, n_head=3)).eval()
gpt2.save_pretrained(HERE / "gpt2")

# PyTorch's ZIP: a training checkpoint, two names of one storage, a transposed view, bfloat16.
w = torch.randn(6, 10)
torch.save({"state_dict": {"a.weight": w, "tied.weight": w, "t.weight": torch.randn(5, 7).t(), "part.weight": torch.randn(8, 4)[2:6],
                           "half.weight": torch.randn(4, 9).bfloat16(), "p.weight": torch.nn.Parameter(torch.randn(3, 3)), "a.bias": torch.randn(6)},
            "epoch": 3, "optimizer": {"lr": 0.1}}, HERE / "train.pt")
class Evil:
    def __reduce__(self):
        import os
        return (os.system, ("echo run > /tmp/onnx-overparam-was-run",))
torch.save({"w": torch.randn(2, 2), "x": Evil()}, HERE / "evil.pt")

# Every type of safetensors that holds numbers.
x = torch.randn(16, 12)
types = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
tensors = {f"{k}.weight": x.to(t).contiguous() for k, t in types.items()}
# DeepSeek's form: blocks of 8 x 4 here.
scale = torch.rand(2, 3) + 0.5
tensors["scaled.weight"] = x.to(torch.float8_e4m3fn)
tensors["scaled.weight_scale_inv"] = scale
big = (x.to(torch.float8_e4m3fn).float() * scale.repeat_interleave(8, 0).repeat_interleave(4, 1))
# GPTQ: 4 bits, in x out, groups of 8 inputs in their own order; zero points less one.
rng = np.random.default_rng(1)
inputs, outputs, groups = 16, 8, 2
q = rng.integers(0, 16, (inputs, outputs)).astype(np.uint32)
z = rng.integers(0, 15, (groups, outputs)).astype(np.uint32)
s = rng.random((groups, outputs)).astype(np.float16)
g = rng.permutation(np.arange(inputs) // 8).astype(np.int32)
pack = lambda m, axis: sum((np.take(m, range(i, m.shape[axis], 8), axis) << np.uint32(4 * i)) for i in range(8)).astype(np.uint32)
tensors["gptq.qweight"] = torch.from_numpy(pack(q, 0).view(np.int32))
tensors["gptq.qzeros"] = torch.from_numpy(pack(z, 1).view(np.int32))
tensors["gptq.scales"] = torch.from_numpy(s)
tensors["gptq.g_idx"] = torch.from_numpy(g)
gptq = (q.astype(np.float32) - (z[g] + 1).astype(np.float32)) * s[g].astype(np.float32)
# AWQ: nibble i of a word holds column [0, 2, 4, 6, 1, 3, 5, 7][i].
order = [0, 2, 4, 6, 1, 3, 5, 7]
awq_pack = lambda m: sum((m[:, order[i]::8] << np.uint32(4 * i)) for i in range(8)).astype(np.uint32)
tensors["awq.qweight"] = torch.from_numpy(awq_pack(q).view(np.int32))
tensors["awq.qzeros"] = torch.from_numpy(awq_pack(z).view(np.int32))
tensors["awq.scales"] = torch.from_numpy(s.copy())
half = np.arange(inputs) // 8
awq = (q.astype(np.float32) - z[half].astype(np.float32)) * s[half].astype(np.float32)
# MXFP4 experts, as gpt-oss has them.
blocks = rng.integers(0, 256, (2, 4, 1, 16)).astype(np.uint8)
scales = rng.integers(120, 130, (2, 4, 1)).astype(np.uint8)
tensors["mlp.experts.up_blocks"] = torch.from_numpy(blocks)
tensors["mlp.experts.up_scales"] = torch.from_numpy(scales)
table = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])
fp4 = np.stack([table[blocks & 15], table[blocks >> 4]], -1).reshape(2, 4, 32) * 2.0 ** (scales.astype(float) - 127)
save_file(tensors, HERE / "types.safetensors")
(HERE / "config.json").write_text(json.dumps({"quantization_config": {"weight_block_size": [8, 4]}}))

# A PEFT adapter of the decoder above; alpha 12, rank 4; one module by pattern.
from peft import LoraConfig, get_peft_model
lora = get_peft_model(llama, LoraConfig(r=4, lora_alpha=12, target_modules=["q_proj", "down_proj"], alpha_pattern={"down_proj": 8}, init_lora_weights=False))
lora.save_pretrained(HERE / "adapter")
(HERE / "adapter" / "README.md").unlink(missing_ok=True)
state = {k: v.detach().double().numpy() for k, v in lora.state_dict().items()}
module = "base_model.model.model.layers.1.self_attn.q_proj"
delta = 3 * state[f"{module}.lora_B.default.weight"] @ state[f"{module}.lora_A.default.weight"]
down = "base_model.model.model.layers.0.mlp.down_proj"
delta_down = 2 * state[f"{down}.lora_B.default.weight"] @ state[f"{down}.lora_A.default.weight"]
adapter = ort.AdapterFormat()
adapter.set_adapter_version(1)
adapter.set_model_version(1)
a, b = rng.standard_normal((20, 3)).astype(np.float32), rng.standard_normal((3, 14)).astype(np.float32)
adapter.set_parameters({"q.lora_A": ort.OrtValue.ortvalue_from_numpy(a), "q.lora_B": ort.OrtValue.ortvalue_from_numpy(b)})
adapter.export_adapter(str(HERE / "q.onnx_adapter"))

sv = lambda m: np.linalg.svd(np.asarray(m, dtype=np.float64), compute_uv=False).tolist()
base = {k: v.detach().double().numpy() for k, v in LlamaForCausalLM.from_pretrained(HERE / "llama").state_dict().items()}
conv = {k: v.detach().double().numpy() for k, v in gpt2.state_dict().items()}
layer = "model.layers.1.self_attn"
Q, K, V, O = (base[f"{layer}.{n}_proj.weight"] for n in "qkvo")
# Head h of 6 reads key and value h // 3 of 2; of size 4.
heads = [{"qk": sv(Q[4 * h:4 * h + 4].T @ K[4 * (h // 3):4 * (h // 3) + 4]), "ov": sv(O[:, 4 * h:4 * h + 4] @ V[4 * (h // 3):4 * (h // 3) + 4])} for h in range(6)]
C, P = conv["transformer.h.0.attn.c_attn.weight"], conv["transformer.h.0.attn.c_proj.weight"]
gheads = [{"qk": sv(C[:, 4 * h:4 * h + 4] @ C[:, 12 + 4 * h:16 + 4 * h].T), "ov": sv(C[:, 24 + 4 * h:28 + 4 * h] @ P[4 * h:4 * h + 4])} for h in range(3)]
figures = {
    "llama": {k: sv(v) for k, v in base.items() if v.ndim == 2},
    "gpt2": {k: sv(v) for k, v in conv.items() if v.ndim == 2},
    "types": {**{f"{k}.weight": sv(tensors[f"{k}.weight"].double()) for k in types}, "scaled.weight": sv(big), "gptq.weight": sv(gptq), "awq.weight": sv(awq),
              "mlp.experts.up[0]": sv(fp4[0]), "mlp.experts.up[1]": sv(fp4[1])},
    "train": {k: sv(v.double().detach()) for k, v in torch.load(HERE / "train.pt")["state_dict"].items() if v.ndim == 2},
    "adapter": {"model.layers.1.self_attn.q_proj.weight": sv(delta), "model.layers.0.mlp.down_proj.weight": sv(delta_down)},
    "onnxAdapter": sv(a.astype(np.float64) @ b),
    "heads": heads, "gpt2Heads": gheads,
}
(HERE / "figures.json").write_text(json.dumps(figures) + "\n")

# Without what only people read.
import onnx
model = onnx.load(HERE / "llama.onnx")
for node in model.graph.node:
    node.ClearField("doc_string")
    node.ClearField("metadata_props")
onnx.save(model, HERE / "llama.onnx")
