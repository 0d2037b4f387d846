"""S²-Attn (LongLoRA, arXiv 2309.12307, sec. 3.2) in the plainest form: a mask over all pairs of tokens, written from the
definition and not from this program, and eager attention under it. It stands in for transformers' attention."""
import contextlib

import torch
from transformers import AttentionInterface

state = {"mode": "full", "group": 0}


@contextlib.contextmanager
def attending(mode, group):
    """Inside, models made with attn_implementation="s2" attend so: full, split or roll, with groups of so many tokens."""
    old = dict(state)
    state.update(mode=mode, group=group)
    try:
        yield
    finally:
        state.update(old)


def segments(n, mode, group, shifted):
    """The number of each position's segment, and each position's place in the order in which a segment sees."""
    at = torch.arange(n)
    if mode == "full":
        return torch.zeros(n, dtype=torch.long), at
    if not shifted:
        return at // group, at
    half = group // 2
    if mode == "roll":  # the paper's pseudo-code: shift by -half, cut into groups, shift back
        rolled = (at - half) % n
        return rolled // group, rolled
    return (at - half).div(group, rounding_mode="floor") + 1, at


def mask(n, mode, group, shifted, window=None):
    """(n, n) bool: does query q see key k? A layer with a window has no segments."""
    at = torch.arange(n)
    if window:
        return (at[None, :] <= at[:, None]) & (at[None, :] > at[:, None] - window)
    segment, order = segments(n, mode, group, shifted)
    return (segment[:, None] == segment[None, :]) & (order[None, :] <= order[:, None])


def attention(module, query, key, value, attention_mask, scaling, dropout=0.0, sliding_window=None, softcap=None, **_):
    """query (B,H,N,D), key and value (B,Hkv,N,D). Scores are capped before they are masked. Rows are padded on the right at
    most, which causal masks never see."""
    heads, n = query.shape[1], query.shape[2]
    key = key.repeat_interleave(heads // key.shape[1], dim=1)
    value = value.repeat_interleave(heads // value.shape[1], dim=1)
    sees = torch.stack([mask(n, state["mode"], state["group"], h >= heads // 2, sliding_window) for h in range(heads)])
    scores = query @ key.transpose(2, 3) * scaling
    if softcap:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~sees, float("-inf"))
    return (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register("s2", attention)
