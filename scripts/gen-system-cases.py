"""Makes internal/data/template/testdata/system.json: what transformers renders by chat templates that write a system text of
their own, or a header with the date. The templates are made up, in the ways of Qwen 2.5, SmolLM2, LLaMA 3.2, Granite 3
and SmolLM3."""

import datetime
import json
import pathlib

import transformers
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).resolve().parents[1] / "internal/data/template/testdata"


class Day(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 7, 9, 5)


chat_template_utils.datetime = Day

BODY = """
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) or message.role == "assistant" %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
TEMPLATES = {
    "chatml": [
        """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are Test, made by nobody. You are kind.<|im_end|>\\n' }}
{%- endif %}""" + BODY,
        """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are helpful<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}""",
        """{%- set ns = namespace(mode='/think') -%}
{%- if messages[0].role == 'system' -%}
    {%- set custom = messages[0].content.rstrip() -%}
{%- else -%}
    {%- set custom = 'You are a helpful AI assistant.' -%}
{%- endif -%}
{{- '<|im_start|>system\\n' -}}
{{- '## Metadata\\n\\nToday Date: ' ~ strftime_now('%d %B %Y') ~ '\\nReasoning Mode: ' ~ ns.mode ~ '\\n\\n' -}}
{{- '## Custom Instructions\\n\\n' ~ custom ~ '\\n\\n<|im_end|>\\n' -}}
{%- for message in messages -%}
    {%- set content = message.content if message.content is string else '' -%}
    {%- if message.role == 'user' -%}
        {{ '<|im_start|>user\\n' + content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' -%}
        {% generation %}{{ '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}{% endgeneration %}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<|im_start|>assistant\\n' }}
{%- endif -%}""",
    ],
    "llama3": [
        """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message #}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    ],
    "granite": [
        """{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set system_message = "Knowledge Cutoff Date: April 2024.
Today's Date: " + strftime_now('%B %-d, %Y') + ".
You are Test." %}{%- set loop_messages = messages %}{%- endif %}{{- '<|start_of_role|>system<|end_of_role|>' + system_message + '<|end_of_text|>
' }}{%- for message in loop_messages %}{{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>
' }}{%- if loop.last and add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}{%- endfor %}""",
    ],
}
TALKS = [
    [("user", "hi")],
    [("system", "Be brief."), ("user", "hi")],
    [("system", "  two\nlines "), ("user", "hi"), ("assistant", "yes"), ("user", "and?")],
]


def main():
    tok = transformers.PreTrainedTokenizerFast(tokenizer_file=str(HERE / "tokenizer.json"), bos_token="<|begin_of_text|>",
                                               eos_token="<|end_of_text|>")
    cases = []
    for name, all in TEMPLATES.items():
        for own in all:
            for talk in TALKS:
                ms = [{"role": r, "content": c} for r, c in talk]
                text = tok.apply_chat_template(ms, chat_template=own, tokenize=False, add_generation_prompt=True)
                cases.append(dict(template=name, own=own, messages=ms, text=text))
    doc = dict(made_by=f"transformers {transformers.__version__}", date="2026-03-07", cases=cases)
    (HERE / "system.json").write_text(json.dumps(doc, indent=1) + "\n")


main()
