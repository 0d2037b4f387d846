// Command demotext writes the synthetic text of the bundled model, its configuration, tokenizer and passkey template.
//
// The text mixes filler sentences, a sparse Markov chain over common words, with facts, "Name value .", each
// repeated later in the same document: after a name seen before, only recall predicts the value. Names and
// values are single tokens, because that is the recall that so small a model learns. Everything follows from
// the seed.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

const fillers = `a about above after again air all along also always and animal another any around as ask at away back be
because before began below best between big bird blue boat book both boy bring but by call came can car carry change
children city close cold come could country cut day did different do down draw each early earth eat end enough even
every eye face family far farm father feel feet few field find fire first fish five follow food for form found four
friend from full gave`

// text are the words and the chain that the seed gives.
type text struct {
	names, values, words []string
	next                 [][4]int // successors of each filler word, most likely first
	rng                  *rand.Rand
}

// The language is fixed; only the documents depend on -seed.
const languageSeed = 1

func newText(seed uint64) *text {
	t := &text{words: strings.Fields(fillers)}
	r := rand.New(rand.NewPCG(languageSeed, 0))
	cons, vows := []string{"B", "D", "F", "G", "K", "L", "M", "N", "P", "R", "S", "T", "V", "Z"}, []string{"a", "e", "i",
		"o", "u"}
	seen := map[string]bool{}
	word := func(shape string) string {
		for {
			var b strings.Builder
			for _, c := range shape {
				if c == 'C' {
					b.WriteString(cons[r.IntN(len(cons))])
				} else {
					b.WriteString(vows[r.IntN(len(vows))])
				}
			}
			s := strings.ToLower(b.String())
			if !seen[s] {
				seen[s] = true
				return s
			}
		}
	}
	for range 64 {
		w := word("CVCV")
		t.names = append(t.names, strings.ToUpper(w[:1])+w[1:])
	}
	for range 32 {
		t.values = append(t.values, word("CVCCVC"))
	}
	for range t.words {
		p := r.Perm(len(t.words))
		t.next = append(t.next, [4]int(p[:4]))
	}
	t.rng = rand.New(rand.NewPCG(seed, 1))
	return t
}

// shares of the events of a document.
type shares struct {
	fact, repeat float64 // of new facts and of repetitions; the rest is filler
	near         float64 // of the repetitions that go to a fact said in the last reach tokens
	reach        int
	drone        float64 // of the documents whose filler is a few sentences over and over
	quiet        float64 // what facts and repetitions are multiplied by in those
	dense        float64 // of the documents that are facts alone, one in ten new
}

type fact struct {
	name, value string
	last        int // token index of its latest mention
}

// document is a document of exactly n words.
func (t *text) document(n int, s shares) []string {
	var out []string
	var facts []fact
	free := t.rng.Perm(len(t.names))
	var loop [][]string
	switch u := t.rng.Float64(); {
	case u < s.dense:
		s.fact, s.repeat = 0.1, 0.9
	case u < s.dense+s.drone:
		for range 2 + t.rng.IntN(4) {
			loop = append(loop, t.sentence())
		}
		s.fact, s.repeat = s.fact*s.quiet, s.repeat*s.quiet
	}
	for i := 0; len(out) < n; {
		u := t.rng.Float64()
		switch {
		case u < s.fact && len(free) > 0:
			f := fact{t.names[free[0]], t.values[t.rng.IntN(len(t.values))], len(out)}
			free = free[1:]
			facts = append(facts, f)
			out = append(out, f.name, f.value, ".")
		case u < s.fact+s.repeat && len(facts) > 0:
			f := t.pick(facts, len(out), s)
			f.last = len(out)
			out = append(out, f.name, f.value, ".")
		case loop != nil:
			out = append(out, loop[i%len(loop)]...)
			i++
		default:
			out = append(out, t.sentence()...)
		}
	}
	return out[:n]
}

// pick chooses which fact is said again.
func (t *text) pick(facts []fact, at int, s shares) *fact {
	if t.rng.Float64() < s.near {
		var near []int
		for i, f := range facts {
			if at-f.last <= s.reach {
				near = append(near, i)
			}
		}
		if len(near) > 0 {
			return &facts[near[t.rng.IntN(len(near))]]
		}
	}
	return &facts[t.rng.IntN(len(facts))]
}

// sentence is a walk of the chain of 4 to 9 words and a stop.
func (t *text) sentence() []string {
	w := t.rng.IntN(len(t.words))
	var out []string
	for range 4 + t.rng.IntN(6) {
		out = append(out, t.words[w])
		k := 0
		for u := t.rng.Float64(); k < 3 && u > []float64{0.5, 0.8, 0.95}[k]; k++ {
		}
		w = t.next[w][k]
	}
	return append(out, ".")
}

// vocab lists the tokens by id: two special ones, the bytes as byte-level BPE spells them, and every word with
// its space in front.
func (t *text) vocab() []string {
	v := []string{"<s>", "</s>"}
	n := 0
	for b := range 256 {
		printable := b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae
		if printable {
			v = append(v, string(rune(b)))
		} else {
			v = append(v, string(rune(256+n)))
			n++
		}
	}
	for _, list := range [][]string{{"."}, t.words, t.values, t.names} {
		for _, w := range list {
			v = append(v, "Ġ"+w)
		}
	}
	return v
}

func main() {
	seed := flag.Uint64("seed", 0, "seed of the documents")
	docs := flag.Int("docs", 100, "number of documents")
	length := flag.Int("len", 256, "tokens of a document, its end token included")
	near := flag.Float64("near", 0.5, "share of repetitions within -reach tokens")
	reach := flag.Int("reach", 128, "how far back a near repetition may go, in tokens")
	fact := flag.Float64("fact", 0.15, "share of events that are new facts")
	repeat := flag.Float64("repeat", 0.45, "share of events that repeat a fact")
	drone := flag.Float64("drone", 0.2, "share of documents with repeating filler")
	dense := flag.Float64("dense", 0, "share of documents made of facts alone")
	quiet := flag.Float64("quiet", 1, "what -fact and -repeat are multiplied by in those")
	out := flag.String("out", "", "text to write: .jsonl, or .bin for token ids")
	dir := flag.String("model", "", "folder to write config.json, the tokenizer and passkey.yaml into")
	flag.Parse()
	t := newText(*seed)
	var err error
	if *dir != "" {
		err = t.writeModel(*dir)
	}
	if err == nil && *out != "" {
		err = t.write(*out, *docs, *length, shares{fact: *fact, repeat: *repeat, near: *near, reach: *reach, drone: *drone,
			quiet: *quiet, dense: *dense})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demotext:", err)
		os.Exit(1)
	}
}

func (t *text) write(path string, docs, length int, s shares) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	ids := map[string]uint16{}
	for i, v := range t.vocab() {
		ids[v] = uint16(i)
	}
	for range docs {
		d := t.document(length-1, s)
		if strings.HasSuffix(path, ".bin") {
			for _, x := range d {
				if err := binary.Write(w, binary.LittleEndian, ids["Ġ"+x]); err != nil {
					return err
				}
			}
			if err := binary.Write(w, binary.LittleEndian, ids["</s>"]); err != nil {
				return err
			}
			continue
		}
		line, err := json.Marshal(map[string]string{"text": " " + strings.Join(d, " ")})
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (t *text) writeModel(dir string) error {
	vocab := map[string]int{}
	for i, v := range t.vocab() {
		vocab[v] = i
	}
	special := func(id int, s string) map[string]any {
		return map[string]any{"id": id, "content": s, "single_word": false, "lstrip": false, "rstrip": false,
			"normalized": false, "special": true}
	}
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	files := map[string]any{
		"tokenizer.json": map[string]any{
			"version": "1.0", "truncation": nil, "padding": nil,
			"added_tokens": []any{special(0, "<s>"), special(1, "</s>")},
			"normalizer":   nil, "pre_tokenizer": byteLevel, "post_processor": nil, "decoder": byteLevel,
			"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil,
				"end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
				"vocab": vocab, "merges": []any{}},
		},
		"config.json": map[string]any{"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama",
			"vocab_size":  len(vocab) + 16, // with rows to spare
			"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4,
			"num_key_value_heads":     4,
			"max_position_embeddings": 128, "rope_theta": 10000.0, "rms_norm_eps": 1e-5, "hidden_act": "silu",
			"initializer_range":   0.02,
			"tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "float32"},
		"tokenizer_config.json": map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>",
			"eos_token":     "</s>",
			"add_bos_token": false, "clean_up_tokenization_spaces": false, "model_max_length": 128},
	}
	for name, v := range files {
		b, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "passkey.yaml"), t.template(), 0o644)
}

// template is the passkey task in the text's own words: filler sentences, one fact, and its name again.
func (t *text) template() []byte {
	var b strings.Builder
	b.WriteString("# Words of the recall task: the filler is repeated, the fact stands somewhere in it, and its name is " +
		"asked at the end.\n")
	filler := ""
	for range 5 {
		filler += " " + strings.Join(t.sentence(), " ")
	}
	fmt.Fprintf(&b, "intro: \"\"\nfiller: %q\nfact: \" {name} {key} .\"\nquestion: \" {name}\"\nanswer: \" "+
		"{key}\"\nkeys: [%s]\nnames: [%s]\n",
		filler, strings.Join(t.values, ", "), strings.Join(t.names, ", "))
	return []byte(b.String())
}
