"""Figures of quality by NumPy, SciPy and scikit-learn, for test/evaluate/quality.test.ts.

    python3 test/reference/quality.py > test/reference/quality.json && npx biome format --write test/reference/quality.json

Outputs are waves that both sides make by themselves; a second model's are those times 1.5 plus another wave.
"""

import json

import numpy as np
from scipy.special import expit, log_softmax
from sklearn import metrics

SAMPLES = 40


def wave(phase, shape, size=3.0):
    count = int(np.prod(shape))
    return (size * np.sin(1.7 * np.arange(count) + phase)).astype(np.float32).reshape(shape).astype(np.float64)


def labels(shape, classes, step):
    return (step * np.arange(int(np.prod(shape))) % classes).reshape(shape)


def other(a):
    # In float32, as the model computes it.
    bias = wave(5.0, a.shape[1:], 1.0).astype(np.float32)
    return (a.astype(np.float32) * np.float32(1.5) + bias).astype(np.float64)


def rows(y, axis):
    return np.moveaxis(y, axis, -1).reshape(-1, y.shape[axis])


def of_classes(y, t, k):
    log = log_softmax(y, 1)
    classes = y.shape[1]
    names = np.arange(classes)
    found = y.argmax(1)
    return {
        "accuracy": metrics.accuracy_score(t, found),
        "topAccuracy": metrics.top_k_accuracy_score(t, y, k=k, labels=names),
        "loss": metrics.log_loss(t, np.exp(log), labels=names),
        "meanIou": float(np.mean(metrics.jaccard_score(t, found, average=None, labels=names))),
        "confusion": metrics.confusion_matrix(t, found, labels=names).tolist(),
        "recall": metrics.recall_score(t, found, average=None, labels=names, zero_division=np.nan).tolist(),
        "precision": metrics.precision_score(t, found, average=None, labels=names, zero_division=np.nan).tolist(),
    }


def agreement(a, b):
    la, lb = log_softmax(a, 1), log_softmax(b, 1)
    return {
        "divergence": float((np.exp(la) * (la - lb)).sum(1).mean()),
        "cosine": float(np.mean((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))),
        "equalDecisions": float((a.argmax(1) == b.argmax(1)).mean()),
        "relativeError": float(np.sqrt(((a - b) ** 2).sum() / (a**2).sum())),
    }


def classes():
    a = wave(0.0, (SAMPLES, 7))
    b = other(a)
    t = labels((SAMPLES,), 7, 3)
    return {"a": of_classes(a, t, 3), "b": of_classes(b, t, 3), "agreement": agreement(a, b)}


def pixels():
    """[batch, classes, height, width]; the label 2 does not count."""
    a = wave(0.5, (6, 4, 5, 2))
    t = labels((6, 5, 2), 4, 5).reshape(-1)
    counts = t != 2
    y = rows(a, 1)
    result = of_classes(y[counts], t[counts], 3)
    result["counted"] = int(counts.sum())
    return result


def tokens():
    """[batch, tokens, classes], each token held against the next."""
    a = wave(1.0, (5, 6, 9))
    x = labels((5, 6), 9, 4)
    y, t = a[:, :-1].reshape(-1, 9), x[:, 1:].reshape(-1)
    loss = metrics.log_loss(t, np.exp(log_softmax(y, 1)), labels=np.arange(9))
    return {"accuracy": metrics.accuracy_score(t, y.argmax(1)), "loss": loss, "perplexity": float(np.exp(loss))}


def binary():
    a = wave(2.0, (SAMPLES, 1))[:, 0]
    t = labels((SAMPLES,), 2, 1)
    return {
        "accuracy": metrics.accuracy_score(t, a > 0),
        "loss": metrics.log_loss(t, expit(a)),
        "confusion": metrics.confusion_matrix(t, a > 0).tolist(),
    }


def soft():
    """Probabilities as targets."""
    a = wave(0.0, (SAMPLES, 7))
    t = np.exp(log_softmax(wave(3.0, (SAMPLES, 7)), 1)).astype(np.float32).astype(np.float64)
    return {
        "loss": float(-(t * log_softmax(a, 1)).sum(1).mean()),
        "accuracy": float((a.argmax(1) == t.argmax(1)).mean()),
    }


def values():
    a = wave(0.0, (SAMPLES, 3))
    t = (wave(0.3, (SAMPLES, 3), 2.0).astype(np.float32) + np.float32(100)).astype(np.float64)
    y = (a.astype(np.float32) + np.float32(100)).astype(np.float64)
    return {
        "mse": metrics.mean_squared_error(t, y),
        "mae": metrics.mean_absolute_error(t, y),
        "r2": metrics.r2_score(t, y, multioutput="variance_weighted"),
    }


if __name__ == "__main__":
    figures = {
        "classes": classes(),
        "pixels": pixels(),
        "tokens": tokens(),
        "binary": binary(),
        "soft": soft(),
        "values": values(),
    }
    print(json.dumps(figures).replace("NaN", "null"))
