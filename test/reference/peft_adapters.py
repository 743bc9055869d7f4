"""Adapters of PEFT beside models that PyTorch exports, and what PEFT computes with them.

Writes test/reference/peft-adapters: for each case <case>.onnx (of the base model alone, by one of PyTorch's exporters), <case>/ (the adapter that PEFT
saves, its factors random) and <case>.json (ids, logits of the base and with the adapter, and PEFT's and transformers' versions).

    python test/reference/peft_adapters.py    (torch, transformers, peft, onnxscript)
"""
import json
import shutil
import warnings
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

warnings.filterwarnings("ignore")
OUT = Path(__file__).parent / "peft-adapters"


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


def llama():
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=24, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16, attn_implementation="eager", tie_word_embeddings=False))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=24, n_positions=16, n_embd=16, n_layer=2, n_head=2, attn_implementation="eager"))


CASES = {
    "llama-torchscript": (llama, False, dict(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj", "down_proj"])),
    "llama-dynamo": (llama, True, dict(r=4, lora_alpha=8, use_rslora=True, target_modules=["k_proj", "o_proj", "up_proj"],
                                       rank_pattern={"k_proj": 2}, alpha_pattern={"up_proj": 3})),
    "gpt2-torchscript": (gpt2, False, dict(r=2, lora_alpha=4, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)),
}

OUT.mkdir(exist_ok=True)
for number, (name, (make, dynamo, config)) in enumerate(CASES.items()):
    torch.manual_seed(number)
    base = make().eval()
    ids = torch.randint(0, 24, (2, 7))
    mask = torch.ones_like(ids)
    wrapped = Logits(base).eval()
    path = OUT / f"{name}.onnx"
    options = {"external_data": False} if dynamo else {"opset_version": 17}
    torch.onnx.export(wrapped, (ids, mask), str(path), input_names=["input_ids", "attention_mask"], output_names=["logits"],
                      dynamo=dynamo, **options)
    with torch.no_grad():
        before = wrapped(ids, mask)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **config))
    for parameter_name, parameter in model.named_parameters():
        if "lora_" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.eval()
    with torch.no_grad():
        after = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    shutil.rmtree(OUT / name, ignore_errors=True)
    model.save_pretrained(OUT / name)
    (OUT / name / "README.md").unlink(missing_ok=True)
    figures = {"peft": peft.__version__, "transformers": transformers.__version__, "torch": torch.__version__, "ids": ids.tolist(),
               "base": before.flatten().tolist(), "adapted": after.flatten().tolist()}
    (OUT / f"{name}.json").write_text(json.dumps(figures) + "\n")
    print(name, float((after - before).abs().max()))
