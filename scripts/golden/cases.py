"""The reference cases: what each is made of. make.py makes them; testdata/golden/README.md says what lies in a case."""
from dataclasses import dataclass, field

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL_LINEAR = ATTENTION + ["gate_proj", "up_proj", "down_proj"]


@dataclass
class Case:
    name: str
    config: dict                 # of transformers
    ctx: int
    group: int
    tokens: int                  # length of tokens.bin
    steps: int = 6
    targets: list = field(default_factory=lambda: ATTENTION)
    kinds: tuple = ("full", "split", "roll", "sft")
    kind: str = "LlamaForCausalLM"
    spelled: dict = field(default_factory=dict)  # fields that config.json has besides, or otherwise
    old_spelling: bool = False   # config.json as transformers 4 wrote it
    merged: bool = False         # PEFT's merge, and the released LongLoRA form of the trained adapter
    docs: tuple = ()             # lengths of the documents that a row of ctx tokens is cut into
    rows: tuple = ()             # lengths of the rows of a batch, padded on the right to the longest
    embed: str = "embed_tokens"
    norms: tuple = ("input_layernorm", "post_attention_layernorm", "norm")
    greedy: bool = False         # the loss and the greedy tokens of PEFT's merge
    full_tune: bool = False      # every weight trained, without an adapter
    nf4: str = ""                # linear layers in bitsandbytes' NF4, "double" with double quantisation or "plain"
    decay: float = 0.0
    seed: int = 0


def llama(hidden, mlp, layers, heads, kv, vocab, length, theta=10000.0, scaling=None, tied=False, **more):
    rope = {"rope_theta": theta, "rope_type": "default"}
    rope.update(scaling or {})
    return dict(hidden_size=hidden, intermediate_size=mlp, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv,
                vocab_size=vocab, max_position_embeddings=length, rope_parameters=rope, tie_word_embeddings=tied, rms_norm_eps=1e-5,
                initializer_range=0.08, bos_token_id=1, eos_token_id=2, **more)


def family(name, config, seed, kind, targets=ALL_LINEAR, **more):
    return Case("families/" + name, config, 128, 32, 900, steps=4, targets=targets, kinds=("full", "split"), kind=kind, greedy=True,
                seed=seed, **more)


def longrope(name, original, seed):
    config = llama(48, 40, 2, 3, 1, 89, 192, scaling={
        "rope_type": "longrope", "partial_rotary_factor": 0.5, "original_max_position_embeddings": original, "short_factor": [1.0, 1.1, 1.25, 1.5],
        "long_factor": [1.0, 2.0, 4.5, 8.0]}, original_max_position_embeddings=original, pad_token_id=None)
    return Case("families/" + name, config, 80, 20, 500, steps=2, targets=PHI3, kinds=("full", "split"), kind="Phi3ForCausalLM", seed=seed)


PHI3 = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
NEOX = dict(hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, vocab_size=207, max_position_embeddings=128,
            rope_parameters={"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 0.25}, tie_word_embeddings=False,
            initializer_range=0.08, bos_token_id=0, eos_token_id=0)

# Seeds are free but for one thing: AdamW's first step moves an element by the rate whatever its gradient, so one whose gradient is
# mere rounding may differ by all of that. Where a test of a trained adapter finds such an element, another seed is taken.
CASES = [
    Case("mha-linear", llama(64, 172, 2, 4, 4, 320, 128, scaling={"rope_type": "linear", "factor": 4.0}), 128, 32, 1280,
         old_spelling=True, merged=True, seed=11),
    Case("gqa-llama3", llama(96, 200, 3, 6, 2, 515, 256, 500000.0, tied=True, scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}),
         256, 64, 2560, merged=True, seed=2),
    Case("odd-heads-yarn", llama(72, 160, 2, 9, 3, 401, 256, 100000.0, tied=True, scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}), 256, 64, 2560, seed=3),
    # A length that is a multiple of nothing, an odd group, one KV head of 12 for five heads, documents cut inside of segments.
    Case("ragged", llama(60, 44, 2, 5, 1, 131, 512), 157, 37, 1000, steps=3, targets=ALL_LINEAR, kinds=("full", "split", "sft"),
         docs=(1, 2, 29, 18, 60, 19, 28), seed=4),
    # The same under windows of 23 tokens in the first and the last layer; S²-Attn acts on the one between. transformers takes a
    # Mistral with layer_types for a Ministral.
    Case("ragged-window", llama(60, 44, 3, 5, 1, 131, 512, head_dim=12, sliding_window=23,
                               layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
         157, 37, 1000, steps=3, targets=ALL_LINEAR, kinds=("full", "split", "sft"), docs=(1, 2, 29, 18, 60, 19, 28), kind="MinistralForCausalLM",
         spelled={"architectures": ["MistralForCausalLM"], "model_type": "mistral"}, seed=9),
    # Rows of other lengths in one padded batch, the longest no multiple of the group, another exactly one.
    Case("padded", llama(48, 56, 2, 6, 3, 163, 128), 83, 26, 360, steps=2, kinds=("split",), rows=(83, 26, 1, 61), seed=12),
    Case("families/llama-bias", llama(64, 96, 2, 4, 2, 199, 128, attention_bias=True), 128, 32, 900, steps=4, targets=ALL_LINEAR,
         kinds=("full", "split"), seed=5),
    Case("families/mistral-window", llama(64, 112, 2, 4, 2, 199, 128, sliding_window=48), 128, 32, 900, steps=4, targets=ALL_LINEAR,
         kinds=("full", "split"), kind="MistralForCausalLM", seed=7),
    # Rows of 160 and 96 values: blocks of 64 end within them.
    Case("families/nf4-double", llama(96, 160, 2, 4, 2, 149, 128), 96, 32, 700, steps=4, targets=ALL_LINEAR, kinds=("full", "split"),
         nf4="double", seed=14),
    Case("families/nf4-plain", llama(64, 96, 2, 4, 2, 149, 128, attention_bias=True, tied=True), 96, 32, 700, steps=4,
         targets=ALL_LINEAR, kinds=("full", "split"), nf4="plain", seed=15),
    family("qwen2", llama(64, 96, 2, 4, 2, 211, 128, 1e6, tied=True), 21, "Qwen2ForCausalLM"),
    family("qwen3", llama(64, 96, 2, 4, 2, 223, 128, 1e6, head_dim=32), 32, "Qwen3ForCausalLM",
           norms=("input_layernorm", "post_attention_layernorm", "norm", "q_norm", "k_norm")),
    family("phi3", llama(64, 96, 2, 4, 4, 203, 128, pad_token_id=None), 33, "Phi3ForCausalLM",
           PHI3),
    # longrope beyond the length that it was made for, and within it, with half of a head turned.
    longrope("phi3-long", 48, 41),
    longrope("phi3-short", 96, 42),
    family("granite", llama(64, 96, 2, 4, 2, 197, 128, 1e7, tied=True, embedding_multiplier=12.0, attention_multiplier=0.0625,
                            residual_multiplier=0.22, logits_scaling=8.0), 24, "GraniteForCausalLM"),
    family("smollm3", llama(64, 96, 4, 4, 2, 195, 128, 5e6, tied=True, no_rope_layers=[1, 1, 0, 1], pad_token_id=None), 25,
           "SmolLM3ForCausalLM"),
    family("olmo2", llama(64, 96, 2, 4, 4, 193, 128, 5e5, pad_token_id=None), 36, "Olmo2ForCausalLM",
           norms=("post_attention_layernorm", "post_feedforward_layernorm", "norm", "q_norm", "k_norm")),
    family("gpt-neox", NEOX, 27, "GPTNeoXForCausalLM", ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"], embed="embed_in",
           norms=("input_layernorm", "post_attention_layernorm", "final_layer_norm")),
    family("gemma2", llama(64, 96, 4, 4, 2, 201, 128, tied=True, head_dim=32, sliding_window=40, query_pre_attn_scalar=24), 31,
           "Gemma2ForCausalLM", norms=("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                                       "post_feedforward_layernorm", "norm")),
    Case("biases", llama(32, 40, 2, 4, 2, 96, 64, attention_bias=True, mlp_bias=True), 48, 12, 144, steps=3, kinds=("full",),
         full_tune=True, decay=0.1, seed=28),
]
