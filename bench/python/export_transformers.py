#!/usr/bin/env python3
"""Small transformers with random weights, from their configurations, by PyTorch's exporters, to check that no command fails on them.

    python3 bench/python/export_transformers.py <directory> [names]

Needs torch, transformers, onnx, onnxscript and onnxruntime. Each of Llama, Qwen2 (grouped queries), GPT-2, BERT, T5, Whisper, ViT, CLIP and
Mixtral by TorchScript and by dynamo in float32; of the TorchScript files also float16 (transformed by onnxruntime) and int4 (MatMulNBits).
What an exporter cannot do is printed, and left out.
"""
import sys
import warnings
from pathlib import Path

import onnx
import torch
import transformers as t

warnings.filterwarnings("ignore")
OUT = Path(sys.argv[1])
ONLY = set(sys.argv[2:])
SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4)
EAGER = dict(attn_implementation="eager")


class Named(torch.nn.Module):
    """One output of a model, without a cache."""

    def __init__(self, model, inputs, output, **fixed):
        super().__init__()
        self.model, self.inputs, self.output, self.fixed = model, inputs, output, fixed

    def forward(self, *values):
        return getattr(self.model(**dict(zip(self.inputs, values)), **self.fixed), self.output)


def tokens(vocabulary=96, length=8):
    return torch.randint(3, vocabulary, (2, length))


def text(model, **fixed):
    ids = tokens()
    return Named(model, ["input_ids", "attention_mask"], "logits", **fixed), (ids, torch.ones_like(ids))


def llama():
    config = t.LlamaConfig(vocab_size=96, num_key_value_heads=2, max_position_embeddings=64, **SIZES, **EAGER)
    return text(t.LlamaForCausalLM(config), use_cache=False)


def qwen2():
    config = t.Qwen2Config(vocab_size=96, num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, **SIZES, **EAGER)
    return text(t.Qwen2ForCausalLM(config), use_cache=False)


def mixtral():
    config = t.MixtralConfig(vocab_size=96, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
                             max_position_embeddings=64, **SIZES, **EAGER)
    return text(t.MixtralForCausalLM(config), use_cache=False)


def gpt2():
    config = t.GPT2Config(vocab_size=96, n_positions=32, n_embd=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0, **EAGER)
    return text(t.GPT2LMHeadModel(config), use_cache=False)


def bert():
    return text(t.BertForMaskedLM(t.BertConfig(vocab_size=96, max_position_embeddings=32, **SIZES, **EAGER)))


def t5():
    config = t.T5Config(vocab_size=96, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4, decoder_start_token_id=0, **EAGER)
    model = t.T5ForConditionalGeneration(config)
    ids = tokens()
    inputs = ["input_ids", "attention_mask", "decoder_input_ids"]
    return Named(model, inputs, "logits", use_cache=False), (ids, torch.ones_like(ids), tokens(length=5))


def whisper():
    config = t.WhisperConfig(vocab_size=96, num_mel_bins=16, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                             decoder_attention_heads=4, encoder_ffn_dim=96, decoder_ffn_dim=96, max_source_positions=24,
                             max_target_positions=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, **EAGER)
    model = t.WhisperForConditionalGeneration(config)
    return Named(model, ["input_features", "decoder_input_ids"], "logits", use_cache=False), (torch.randn(2, 16, 48), tokens(length=5))


def vit():
    config = t.ViTConfig(image_size=32, patch_size=8, num_labels=10, **SIZES, **EAGER)
    return Named(t.ViTForImageClassification(config), ["pixel_values"], "logits"), (torch.randn(2, 3, 32, 32),)


def clip():
    text_config = dict(vocab_size=96, max_position_embeddings=16, eos_token_id=2, bos_token_id=1, **SIZES)
    config = t.CLIPConfig(text_config=text_config, vision_config=dict(image_size=32, patch_size=8, **SIZES), projection_dim=32, **EAGER)
    ids = tokens()
    inputs = ["input_ids", "pixel_values", "attention_mask"]
    return Named(t.CLIPModel(config), inputs, "logits_per_image"), (ids, torch.randn(2, 3, 32, 32), torch.ones_like(ids))


MODELS = [llama, qwen2, mixtral, gpt2, bert, t5, whisper, vit, clip]


def told(what, work):
    try:
        work()
        print(f"{what}: made", flush=True)
    except Exception as error:  # what an exporter cannot do is news, not a failure
        print(f"{what}: {type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}", flush=True)


def to_half(path, out):
    from onnxruntime.transformers.float16 import convert_float_to_float16
    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), out)


def to_int4(path, out):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    quantizer = MatMulNBitsQuantizer(onnx.load(path), block_size=32, is_symmetric=False)
    quantizer.process()
    onnx.save(quantizer.model.model, out)


OUT.mkdir(parents=True, exist_ok=True)
for number, make in enumerate(MODELS):
    name = make.__name__
    if ONLY and name not in ONLY:
        continue
    for dynamo in (False, True):
        torch.manual_seed(number)
        model, inputs = make()
        model.eval()
        path = OUT / f"{name}-{'dynamo' if dynamo else 'torchscript'}.onnx"
        # Sizes stay as they are traced: what is checked are the commands, not what exporters do with open sizes.
        options = dict(external_data=False) if dynamo else dict(opset_version=17)
        told(path.name, lambda: torch.onnx.export(model, inputs, str(path), input_names=model.inputs, output_names=[model.output],
                                                  dynamo=dynamo, **options))
        if dynamo or not path.exists():
            continue
        told(f"{name}-fp16.onnx", lambda: to_half(path, OUT / f"{name}-fp16.onnx"))
        told(f"{name}-int4.onnx", lambda: to_int4(path, OUT / f"{name}-int4.onnx"))
