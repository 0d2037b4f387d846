#!/usr/bin/env python3
"""Writes internal/data/template/testdata: conversations as transformers' apply_chat_template writes and encodes them.

usage: python3 scripts/gen-chat-cases.py

Needs transformers 5.17 and tokenizers. Run it in the repository's root. The chat templates are those of the public
models in the parts that longlora writes too: without a default system text, without a header with the date.
"""
import json
import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import transformers  # noqa: E402
from tokenizers import AddedToken, Tokenizer  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

OUT = "internal/data/template/testdata"

LLAMA2 = """{% set ns = namespace(sys=none) %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.sys = m.content %}
{% elif m.role == 'user' %}{% set c = m.content %}{% if ns.sys is not none %}{% set c = '<<SYS>>\\n' + ns.sys + '\\n<</SYS>>\\n\\n' + c %}
{% set ns.sys = none %}{% endif %}{{ bos_token + '[INST] ' + c.strip() + ' [/INST]' }}
{%- else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

MISTRAL = """{{ bos_token }}{% set ns = namespace(sys='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.sys = m.content + '\\n\\n' %}
{% elif m.role == 'user' %}{{ '[INST] ' + ns.sys + m.content + ' [/INST]' }}{% set ns.sys = '' %}
{%- else %}{{ ' ' + m.content|trim + eos_token }}{% endif %}{% endfor %}"""

LLAMA3 = """{{ bos_token }}{% set ns = namespace(tools=tools) %}{% for m in messages %}
{% set role = 'ipython' if m.role == 'tool' else m.role %}{{ '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' }}
{%- if m.tool_calls %}{% set f = m.tool_calls[0].function %}{{ '{"name": "' + f.name + '", "parameters": ' }}{{ f.arguments|tojson }}{{ '}' }}
{%- else %}{% if m.role == 'user' and ns.tools %}
{{- 'Given the following functions, please respond with a JSON for a function call ' }}
{{- 'with its proper arguments that best answers the given prompt.\\n\\n' }}
{{- 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.' }}
{{- 'Do not use variables.\\n\\n' }}{% for t in ns.tools %}{{ t|tojson(indent=4) }}{{ '\\n\\n' }}{% endfor %}{% set ns.tools = none %}{% endif %}
{{- m.content|trim }}{% endif %}{{ '<|eot_id|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

TOOLS = """{% if tools %}{{ '<|im_start|>system\\n' }}{% if messages[0].role == 'system' %}{{ messages[0].content + '\\n\\n' }}{% endif %}
{{- '# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\n' }}
{{- 'You are provided with function signatures within <tools></tools> XML tags:\\n<tools>' }}{% for t in tools %}{{ '\\n' }}{{ t|tojson }}{% endfor %}
{{- '\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\\n' }}
{{- '<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call><|im_end|>\\n' }}{% endif %}"""
CHATML = TOOLS + """{% for m in messages %}{% if not (loop.first and tools and m.role == 'system') %}{{ '<|im_start|>' + m.role }}
{%- if m.content %}{{ '\\n' + m.content }}{% endif %}{% for c in m.tool_calls or [] %}{{ '\\n<tool_call>\\n{"name": "' + c.function.name + '", "arguments": ' }}
{{- c.function.arguments|tojson }}{{ '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
QWEN = TOOLS + """{% for m in messages %}{% if m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}
{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}
{%- elif not (loop.first and tools and m.role == 'system') %}{{ '<|im_start|>' + m.role }}
{%- if m.content %}{{ '\\n' + m.content }}{% endif %}{% for c in m.tool_calls or [] %}{{ '\\n<tool_call>\\n{"name": "' + c.function.name + '", "arguments": ' }}
{{- c.function.arguments|tojson }}{{ '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

# Of these a test looks whether the marks are found in the model's own template, so they stand as the models have them but
# for their default system texts; what generation stands round is what is scored.
PHI3 = """{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|assistant|>\\n' }}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}{{ '\\n' }}
{%- else %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""
PHI3_FIRST = """{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>' + '\\n' + message['content'] + '<|end|>' + '\\n' + '<|assistant|>' + '\\n' }}
{%- elif message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}{{ '\\n' }}{% endif %}{% endfor %}"""
PHI4_MINI = """{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|end|>' }}
{%- endgeneration %}{% else %}{{ message['content'] + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"""
PHI4 = """{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant<|im_sep|>' }}{% generation %}{{ message['content'] + '<|im_end|>' }}
{%- endgeneration %}{% else %}{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"""
GRANITE = """{% for message in messages %}{{ '<|start_of_role|>' + message['role'] + '<|end_of_role|>' }}{% if message['role'] == 'assistant' %}{% generation %}
{{- message['content'] + '<|end_of_text|>' }}{% endgeneration %}{{ '\\n' }}{% else %}{{ message['content'] + '<|end_of_text|>\\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"""
GEMMA = """{{ bos_token }}{% set ns = namespace(sys='') %}{% for message in messages %}{% if message['role'] == 'system' %}SYSTEM{% else %}
{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' }}{% if message['role'] == 'assistant' %}{% generation %}
{{- message['content'] | trim + '<end_of_turn>' }}{% endgeneration %}{{ '\\n' }}{% else %}{{ ns.sys + message['content'] | trim + '<end_of_turn>\\n' }}{% set ns.sys = '' %}{% endif %}
{%- endif %}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
GEMMA3 = GEMMA.replace("SYSTEM", "{% set ns.sys = message['content'] + '\\n\\n' %}")
GEMMA2 = GEMMA.replace("SYSTEM", "{{ raise_exception('System role not supported') }}")
OLMO2 = """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\\n' + message['content'] + '\\n' }}
{%- elif message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'assistant' %}{{ '<|assistant|>\\n' }}{% generation %}
{{- message['content'] + eos_token }}{% endgeneration %}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""

MARKS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>",
         "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|im_sep|>", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>",
         "<bos>", "<start_of_turn>", "<end_of_turn>", "<|endoftext|>"]
# name of the template here, the model's own, BOS; own is what longlora looks for in a model's own template
FAMILIES = [("llama2", LLAMA2, "<s>", "[INST] <<SYS>>"), ("mistral", MISTRAL, "<s>", "[INST]"), ("llama3", LLAMA3, "<|begin_of_text|>", "<|start_header_id|> ipython"),
            ("chatml", CHATML, "<s>", "<|im_start|>"), ("chatml", QWEN, "<s>", "<|im_start|> <tool_response>")]
FAMILIES += [(name, chat, bos, None) for name, chat, bos in [
    ("phi", PHI3, "<s>"), ("phi", PHI3_FIRST, "<s>"), ("phi", PHI4_MINI, "<s>"), ("phi", PHI4, "<s>"), ("granite", GRANITE, "<s>"),
    ("gemma", GEMMA3, "<bos>"), ("gemma", GEMMA2, "<bos>"), ("olmo", OLMO2, "<|endoftext|>")]]


def turns(*texts, system=None):
    out = [{"role": "system", "content": system}] if system is not None else []
    return out + [{"role": ["user", "assistant"][i % 2], "content": t} for i, t in enumerate(texts)]


PROMPTS = [turns("Who wrote Emma?"), turns("Who wrote Emma?", system="Answer briefly."),
           turns("One line.\n\nAnother: <b>ä 日本</b> \U0001f642", system="You are kind.\nBe brief.")]
CHATS = [turns("Who?", "Anna."), turns("Who?", "Anna.", "Where?", "In the sea, 12 miles out.", system="Answer briefly."), turns("a\tb", "c\n\nd", system="x")]

TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells \"the\" weather\nof a place — é", "parameters": {
    "type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer", "default": 3}, "scale": {"enum": [1.0, 1e16, 1e-5, 0.25, -2.50]}},
    "required": ["place"], "additionalProperties": False}}}
OTHER = {"name": "stop", "strict": None, "empty": {}, "none": [], "a": {"z": 1, "b": [True, {"c": "\u2028\u001f/"}]}}
CALL = {"name": "weather", "arguments": {"place": "Köln", "days": 2, "at": [1.5, None]}}


def called(*calls, text=""):
    return {"role": "assistant", "content": text, "tool_calls": [{"type": "function", "function": c} for c in calls]}


ONE_CALL = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Rain?"}, called(CALL), {"role": "tool", "content": "{\"rain\": 0.2}"},
            {"role": "assistant", "content": "Hardly."}]
TWO_CALLS = [{"role": "user", "content": "Rain?"}, called(CALL, {"name": "stop", "arguments": {}}, text="I look."), {"role": "tool", "content": "no"},
             {"role": "tool", "content": "yes"}, {"role": "assistant", "content": "Hardly."}]
WITH_TOOLS = [{"messages": ONE_CALL, "tools": [TOOL, OTHER]}, {"messages": ONE_CALL[1:], "tools": [TOOL]}, {"messages": ONE_CALL}]

tok = Tokenizer.from_file("testdata/tokenizer/tokenizer.json")
blob = json.loads(tok.to_str())
blob["post_processor"] = None
tok = Tokenizer.from_str(json.dumps(blob))
tok.add_special_tokens([AddedToken(m, normalized=False, special=True) for m in MARKS])
os.makedirs(OUT, exist_ok=True)
tok.save(OUT + "/tokenizer.json", pretty=False)

cases = []
for name, chat, bos, own in FAMILIES:
    eos = {"olmo": "<|endoftext|>"}.get(name, "</s>")
    t = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token=bos, eos_token=eos, chat_template=chat)
    rows = [({"messages": m}, True) for m in PROMPTS] + [({"messages": m}, False) for m in CHATS] if chat is not QWEN else []
    if name in ("llama3", "chatml"):
        rows += [(r, False) for r in WITH_TOOLS]
    if name == "chatml":
        rows += [({"messages": TWO_CALLS, "tools": [OTHER]}, False)]
    if chat in (PHI3_FIRST, GEMMA2):  # without a place for a system text
        rows = [(r, p) for r, p in rows if r["messages"][0]["role"] != "system"]
    for row, prompt in rows:
        kw = {"tools": row.get("tools"), "add_generation_prompt": prompt}
        text = t.apply_chat_template(row["messages"], tokenize=False, **kw)
        cases.append({"template": name, "own": own or chat, "prompt": prompt, "data": row, "text": text})
        if "tools" not in row:
            cases[-1]["ids"] = t.apply_chat_template(row["messages"], tokenize=True, return_dict=False, **kw)
        if own is None and not prompt:
            d = t.apply_chat_template(row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **kw)
            cases[-1]["scored"] = [i for i, m in enumerate(d["assistant_masks"]) if m]
with open(OUT + "/cases.json", "w", encoding="utf-8") as f:
    f.write('{"made_by": "transformers %s",\n "cases": [\n' % transformers.__version__)
    f.write(",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n ]}\n")
print(len(cases), "cases")
