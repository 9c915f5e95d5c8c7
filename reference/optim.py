"""AdamW (both places where epsilon is found in the field) and the moving average of weights."""

import math

import torch


def adamw_step(parameters, gradients, state, lr, beta1, beta2, epsilon, weight_decay, tf_style=False):
    """One step, returning the new parameters; `state` maps names to (m, v) and holds "step".

    Weight decay is decoupled (w -= lr * decay * w, before the step) and touches only tensors of two
    dimensions: matrices and embeddings, not biases and layer norms. PyTorch's form divides by
    sqrt(v / (1 - beta2^t)) + epsilon, TensorFlow's by sqrt(v) + epsilon with the corrections in the rate.
    """
    state["step"] = t = state.get("step", 0) + 1
    correction1, correction2 = 1.0 - beta1**t, 1.0 - beta2**t
    updated = {}
    for name, w in parameters.items():
        g = gradients[name]
        m, v = state.get(name, (torch.zeros_like(w), torch.zeros_like(w)))
        m = beta1 * m + (1.0 - beta1) * g
        v = beta2 * v + (1.0 - beta2) * g * g
        state[name] = (m, v)
        if w.dim() == 2:
            w = w - lr * weight_decay * w
        if tf_style:
            updated[name] = w - lr * math.sqrt(correction2) / correction1 * m / (torch.sqrt(v) + epsilon)
        else:
            updated[name] = w - lr * (m / correction1) / (torch.sqrt(v / correction2) + epsilon)
    return updated


def ema_step(average, weights, decay):
    """average = decay * average + (1 - decay) * weights, tensor by tensor."""
    return {name: decay * average[name] + (1.0 - decay) * weights[name] for name in average}
