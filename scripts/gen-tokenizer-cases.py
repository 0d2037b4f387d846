#!/usr/bin/env python3
"""Writes the reference cases of internal/tokenizer: small tokenizers of our own, and what the libraries make of texts.

usage: python3 scripts/gen-tokenizer-cases.py

Needs `pip install tokenizers==0.23.3 sentencepiece==0.2.3`. Run it in the repository's root. It writes
internal/tokenizer/testdata/cases/NAME/{tokenizer.json,tokenizer.model} and cases.json.
"""
import collections
import io
import json
import os
import random

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import sentencepiece  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer, decoders as D, models, normalizers as N  # noqa: E402
from tokenizers import pre_tokenizers as P, processors, trainers  # noqa: E402

OUT = "internal/tokenizer/testdata/cases"
SCRIPTS = [(0x20, 0x7E)] * 4 + [
    (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1FFF),
    (0x2000, 0x206F), (0x2150, 0x218F), (0x3000, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xAD00), (0xE000, 0xE010), (0xF900, 0xFB10),
    (0x1F300, 0x1F64F), (0x10D40, 0x10D90), (0x2EBF0, 0x2EC00)]
PARTS = [
    "'s", "'S", "'re", "'Ll", "'\u017f", "don't", "<s>", "</s>", "<unk>", "<|end|>", "<0x0A>", "\u2581", "hello", "world", "the", "foo_bar",
    "CamelCase", "HTTPServer", "1", "12", "1234567", "3.14", "\u65e5\u672c", "e\u0301", "\u00e9", "\U0001f642", "\U0001f469\u200d\U0001f467", "\u0130",
    "\ufb01", "\x00", "\x1f", "\ufeff", "\u00b2", "\u0664", "\u2167", "...", "==", "//", "(x)", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u00a0",
    "\u3000", "\u0085", "\u200b", "\u02b0", "\u01c5", "\u1100\u1161\u11a8", "\uac00\u11a8", "q\u0323\u0307"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
HAN = "[一-龥ࠀ-一가-퟿]+"
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
             r"\s*[\r\n]+|\s+(?!\S)|\s+")
FOLDED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"


def make_texts():
    rng = random.Random(1)
    texts = ["", " ", "a", "Hello world", " one leading", "  two", "tail ", "x" * 120, " " * 33, "\n" * 20 + "x", "a" + " " * 7 + "b"]
    while len(texts) < 60:
        texts.append("".join(rng.choice(PARTS) + rng.choice(["", " "]) for _ in range(rng.randint(1, 9))))
    while len(texts) < 90:
        lo, hi = rng.choice(SCRIPTS)
        text = ""
        for _ in range(rng.randint(1, 5)):
            if rng.random() < 0.4:
                lo, hi = rng.choice(SCRIPTS)
            text += "".join(chr(rng.randint(lo, hi)) for _ in range(rng.randint(1, 5))) + rng.choice([" ", "", "\n"])
        texts.append(text)
    return texts


def write(name, data, mode="w"):
    path = os.path.join(OUT, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, mode, **({} if "b" in mode else {"encoding": "utf-8"})) as f:
        f.write(data)


def byte_level(name, texts, pre, normalizer=None, specials=(), post=None):
    t = Tokenizer(models.BPE())
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = D.ByteLevel()
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=520, initial_alphabet=P.ByteLevel.alphabet(), special_tokens=["<|end|>", *specials], show_progress=False))
    if post:
        t.post_processor = post
    return t


def split(pattern):
    return P.Sequence([P.Split(Regex(pattern), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)])


def isolated(*patterns):
    return [P.Split(Regex(p), "isolated") for p in patterns]


def deepseek(*patterns):
    return P.Sequence([*isolated(*patterns), P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False, use_regex=False)])


def characters(texts, pre, decoder, **options):
    t = Tokenizer(models.BPE(unk_token="<unk>", **options))
    t.pre_tokenizer, t.decoder = pre, decoder
    counts = collections.Counter(c for x in texts for piece, _ in pre.pre_tokenize_str(x) for c in piece)
    alphabet = [c for _, c in sorted((-n, c) for c, n in counts.items())[:90]]  # a limit alone would choose among equals by chance
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet, limit_alphabet=90, show_progress=False))
    return t


def sentence_model(texts, **options):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([x.replace("\n", " ").replace("\r", " ").replace("\0", "") for x in texts if x] * 3), model_writer=out,
        minloglevel=2, **{"model_type": "bpe", "vocab_size": 700, "byte_fallback": True, "normalization_rule_name": "identity",
                          "character_coverage": 0.98, "remove_extra_whitespaces": False, **options})
    return out.getvalue()


def unigram(model, byte_fallback, normalizer, decoder, pre=None):
    """A Unigram tokenizer.json of a sentencepiece model, as converters write it: every piece is looked for in the text."""
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    t = Tokenizer(models.Unigram([(sp.id_to_piece(i), sp.get_score(i)) for i in range(sp.get_piece_size())], sp.unk_id(), byte_fallback))
    t.decoder = decoder
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    return t


def llama2(model, normalizer=None, pre=None):
    """The model as transformers converts it: merges by score, normalizer or pre-tokenizer for the spaces."""
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [sp.id_to_piece(i) for i in range(sp.get_piece_size())]
    vocab = {p: i for i, p in enumerate(pieces)}
    merges = []
    for i, p in enumerate(pieces):
        if not (sp.is_control(i) or sp.is_byte(i) or sp.is_unknown(i)):
            merges += [(sp.get_score(i), p[:k], p[k:]) for k in range(1, len(p)) if p[:k] in vocab and p[k:] in vocab]
    merges.sort(key=lambda m: (m[0], len(m[1]), len(m[2])), reverse=True)
    t = Tokenizer(models.BPE(vocab, [m[1:] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    t.decoder = D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in ("<unk>", "<s>", "</s>")])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", 1)])
    return t


def added(t, tokens):
    t.add_tokens(tokens)
    return t


def main():
    texts = make_texts()
    base = sentence_model(texts)
    plain = P.ByteLevel(add_prefix_space=False)
    metaspace = lambda scheme: P.Metaspace(prepend_scheme=scheme, split=False)  # noqa: E731
    made = {
        "gpt2": byte_level("gpt2", texts, plain),
        "prefix": byte_level("prefix", texts, P.ByteLevel(add_prefix_space=True), specials=[
            AddedToken("hello", lstrip=True, normalized=False), AddedToken("the", rstrip=True, single_word=True)]),
        "smollm2": byte_level("smollm2", texts, P.Sequence([P.Digits(individual_digits=True), plain])),
        "llama3": byte_level("llama3", texts, split(LLAMA3), post=processors.Sequence([
            processors.ByteLevel(trim_offsets=True), processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])])),
        "qwen2": byte_level("qwen2", texts, split(LLAMA3.replace("{1,3}", "")), N.NFC()),
        "gpt4o": byte_level("gpt4o", texts, split(CASED % (FOLDED, FOLDED, r"\p{N}{1,3}"))),
        "tekken": byte_level("tekken", texts, split(CASED % ("", "", r"\p{N}"))),
        "deepseek-llm": byte_level("deepseek-llm", texts, deepseek("[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓ]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", HAN)),
        "deepseek-coder": byte_level("deepseek-coder", texts, deepseek("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN)),
        "deepseek-v3": byte_level("deepseek-v3", texts, P.Sequence([*isolated(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3), P.ByteLevel(add_prefix_space=False, use_regex=False)])),
        "bloom": byte_level("bloom", texts, split(" ?[^(\\s|[.,!?…。，、।۔،])]+")),
        "borders": byte_level("borders", texts, P.Sequence([*isolated(r"\b(?=\w)|^\s+", r"[\p{L}&&[^\p{Lu}]]+"), P.ByteLevel(add_prefix_space=False, use_regex=False)])),
        "nfkd": byte_level("nfkd", texts, split(r"\p{L}++|[^\S\n]?\d{2}|[\p{P}\p{S}]+(?=\s)|\s+?".replace(r"[^\S\n]", r"[ \t]")), N.NFKD()),
        "falcon": byte_level("falcon", texts, P.Sequence([
            P.Punctuation("contiguous"), plain, P.Digits(individual_digits=False), P.Split(Regex("[0-9][0-9][0-9]"), "isolated")])),
        "changes": byte_level("changes", texts, P.Sequence([
            P.Split("o", "merged_with_previous"), P.Split(Regex(r"\p{N}+"), "merged_with_next"), P.Split("l", "removed"), plain]),
            N.Sequence([N.NFKC(), N.Lowercase(), N.Strip(), N.Replace("foo", "bar"), N.Replace(Regex(r" {2,}|\n+"), " ")]),
            specials=[AddedToken("World", normalized=True), AddedToken("\u00e9", normalized=True, special=True)]),
        "words": characters(texts, P.Whitespace(), D.BPEDecoder(), fuse_unk=False, continuing_subword_prefix="##", end_of_word_suffix="</w>"),
        "metaspace": characters(texts, P.Metaspace(), D.Metaspace(), fuse_unk=True),
        "llama2": llama2(base, N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")])),
        "llama2-first": llama2(base, pre=metaspace("first")),
        "llama2-always": llama2(base, pre=metaspace("always")),
        "llama2-never": llama2(base, pre=metaspace("never")),
        # Phi-3: LLaMA's with marks that take the white space behind them. Gemma: spaces become marks and nothing is put in
        # front; the pre-tokenizer looks for spaces that are gone by then. GPT-NeoX: runs of spaces are added tokens.
        "phi3": added(llama2(base, N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")])), [
            AddedToken(x, rstrip=True, normalized=False, special=True) for x in ("<|end|>", "hello", "12")]),
        "gemma": added(llama2(base, N.Replace(" ", "\u2581"), P.Split(" ", "merged_with_previous")), [
            AddedToken(x, normalized=False) for x in ("\n", "\n\n", "\u2581\u2581", "\u2581\u2581\u2581")]),
        "gpt-neox": added(byte_level("gpt-neox", texts, plain, N.NFC(), post=processors.ByteLevel(trim_offsets=True)), [
            AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)]),
    }
    # llm-jp's form, which puts nothing behind a line's end; and one with words and without bytes, whose unknown characters
    # are one token.
    scored = sentence_model(texts, model_type="unigram", vocab_size=620)
    made["llm-jp"] = added(unigram(scored, True, N.Sequence([N.Replace(Regex(r"(?<!\n)^"), "\u2581"), N.Replace(Regex(" "), "\u2581")]), D.Sequence(
        [D.ByteFallback(), D.Replace(Regex("\u2581"), " "), D.Fuse(), D.Replace(Regex(r"(?<!\n)^ "), "")])), [
        AddedToken(x, normalized=False, special=True) for x in ("<unk>", "<s>", "</s>")])
    made["unigram-words"] = unigram(sentence_model(texts, model_type="unigram", vocab_size=360, byte_fallback=False), False, None, D.Metaspace(), P.Metaspace())
    cases = {"texts": texts, "ids": {}, "decoded": {}, "spans": {}}
    for name, t in made.items():
        write(f"{name}/tokenizer.json", json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")))
        encoded = [t.encode(x, add_special_tokens=False) for x in texts]
        cases["ids"][name] = [e.ids for e in encoded]
        cases["decoded"][name] = [t.decode(e.ids, skip_special_tokens=False) for e in encoded]
        if name in ("gpt2", "smollm2", "llama2", "llama2-first", "metaspace", "unigram-words"):
            cases["spans"][name] = [[[len(x[:a].encode()), len(x[:b].encode())] for a, b in e.offsets] for x, e in zip(texts, encoded)]
    for name, options in {"model": {}, "model-squeeze": {"remove_extra_whitespaces": True}, "model-plain": {"add_dummy_prefix": False, "user_defined_symbols": ["foo_bar"]}, "model-unigram": {"model_type": "unigram", "vocab_size": 620}}.items():
        model = sentence_model(texts, **options) if options else base
        write(f"{name}/tokenizer.model", model, "wb")
        sp = sentencepiece.SentencePieceProcessor(model_proto=model)
        # The library does not parse special tokens, and what follows a user-defined one is another matter there.
        cases["ids"][name] = [None if any(s in x for s in ("<s>", "</s>", "<unk>", "foo_bar", "\0")) else sp.encode(x) for x in texts]
    write("cases.json", json.dumps(cases, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
