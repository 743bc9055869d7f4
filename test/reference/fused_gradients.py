#!/usr/bin/env python3
"""Gradients of fused operators by PyTorch in float64, for test/passes/gradient/fused.test.ts.

    python3 test/reference/fused_gradients.py > test/reference/fused-gradients.json && npx biome format --write test/reference/fused-gradients.json

Inputs follow from the formula that the test repeats; the loss is the sum of the outputs times numbers of the same formula.
"""
import json, math
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def wave(seed, shape, scale=1.0):
    size = math.prod(shape)
    return torch.tensor([scale * math.sin((i + 1) * 0.7548776662466927 * (1 + 0.1 * seed) + seed) for i in range(size)]).reshape(shape)


def rms(x, g, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * g


def heads(x, n):
    b, s, _ = x.shape
    return x.reshape(b, s, n, -1).transpose(1, 2)


def rotate(x, cos, sin, interleaved):
    # x: batch, heads, tokens, size; cos: tokens, size / 2
    half = x.shape[-1] // 2
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    first, second = a * cos - b * sin, b * cos + a * sin
    return torch.stack([first, second], -1).flatten(-2) if interleaved else torch.cat([first, second], -1)


def attend(q, k, v, mask=None, causal=False, scale=None):
    k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], 1) for t in (k, v))
    o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)
    return o.transpose(1, 2).flatten(2)


def experts(x, router, k, normalized, f, w1, b1, w2, b2):
    # weights: experts, outputs, inputs
    rows, shares = x.flatten(0, 1), router.softmax(-1)
    chosen, indices = shares.topk(k, -1)
    if normalized:
        chosen = chosen / chosen.sum(-1, keepdim=True)
    out = torch.stack([
        sum(g * (f(row @ w1[e].T + (0 if b1 is None else b1[e])) @ w2[e].T + (0 if b2 is None else b2[e])) for g, e in zip(gates, places))
        for row, gates, places in zip(rows, chosen, indices)])
    return out.reshape(x.shape)


def swiglu(h):
    gate, value = h[..., 0::2].clamp(max=2), h[..., 1::2].clamp(-2, 2)
    return gate * torch.sigmoid(1.5 * gate) * (value + 0.5)


X = (2, 4, 12)
cos, sin = (f(torch.arange(8).double()[:, None] * torch.tensor([0.9, 0.3, 0.1])[None]) for f in (torch.cos, torch.sin))
cases = {
    "RMSNormalization": ([X, (12,)], lambda x, g: rms(x, g, 1e-3)),
    "SimplifiedLayerNormalization": ([X, (12,)], lambda x, g: rms(x, g, 1e-3)),
    "SkipLayerNormalization": ([X, X, (12,), (12,), (12,)], lambda x, s, g, b, c: F.layer_norm(x + s + c, (12,), g, b, 1e-3)),
    "SkipSimplifiedLayerNormalization": ([X, X, (12,)], lambda x, s, g: rms(x + s, g, 1e-3)),
    "FastGelu": ([X, (12,)], lambda x, b: F.gelu(x + b, approximate="tanh")),
    "BiasGelu": ([X, (12,)], lambda x, b: F.gelu(x + b)),
    "QuickGelu": ([X], lambda x: x * torch.sigmoid(1.702 * x)),
    "RotaryEmbedding": ([X], lambda x: rotate(heads(x, 2), cos[:4], sin[:4], False).transpose(1, 2).flatten(2)),
    "RotaryEmbedding, interleaved": ([X], lambda x: rotate(heads(x, 2), cos[1:5], sin[1:5], True).transpose(1, 2).flatten(2)),
    "RotaryEmbedding of com.microsoft": ([X], lambda x: rotate(heads(x, 2), cos[2:6], sin[2:6], False).transpose(1, 2).flatten(2)),
    "Attention": ([X, (2, 5, 6), (2, 5, 6)], lambda q, k, v: attend(heads(q, 4), heads(k, 2), heads(v, 2), wave(9, (4, 5)))),
    "Attention, causal": ([X, X, X], lambda q, k, v: attend(heads(q, 2), heads(k, 2), heads(v, 2), causal=True, scale=0.3)),
    "MultiHeadAttention": ([X, (2, 5, 12), (2, 5, 12)], lambda q, k, v: attend(heads(q, 2), heads(k, 2), heads(v, 2), wave(9, (1, 2, 4, 5)))),
    "GroupQueryAttention": ([X, (2, 4, 6), (2, 4, 6)], lambda q, k, v: attend(rotate(heads(q, 2), cos[:4], sin[:4], False), rotate(heads(k, 1), cos[:4], sin[:4], False), heads(v, 1), causal=True)),
    "GroupQueryAttention, packed": ([(2, 4, 24)], lambda x: attend(heads(x[..., :12], 2), heads(x[..., 12:18], 1), heads(x[..., 18:], 1), causal=True)),
    "MoE": ([X, (8, 4), (4, 6, 12), (4, 6), (4, 12, 6), (4, 12)], lambda x, r, w1, b1, w2, b2: experts(x, r, 2, True, F.silu, w1, b1, w2, b2)),
    "MoE, gelu": ([X, (8, 4), (4, 6, 12), (4, 12, 6)], lambda x, r, w1, w2: experts(x, r, 1, False, lambda h: F.gelu(h, approximate="tanh"), w1, None, w2, None)),
    "MoE, swiglu": ([X, (8, 4), (4, 10, 12), (4, 12, 5)], lambda x, r, w1, w2: experts(x, r, 3, False, swiglu, w1, None, w2, None)),
}
out = {}
for name, (shapes, f) in cases.items():
    inputs = [wave(i + 1, s).requires_grad_() for i, s in enumerate(shapes)]
    y = f(*inputs)
    (y * wave(50, y.shape)).sum().backward()
    out[name] = {"y": y.flatten().tolist(), "gradients": [t.grad.flatten().tolist() for t in inputs]}
print(json.dumps(out))
