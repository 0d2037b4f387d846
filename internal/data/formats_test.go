package data

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"longlora/internal/errs"
	"longlora/internal/tokenizer"
)

// real is the tokenizer of testdata: byte-level, BOS 1, EOS 2.
func real(t testing.TB) (*tokenizer.Tokenizer, *Identity) {
	t.Helper()
	dir := "../../testdata/tokenizer"
	tk, err := tokenizer.Load(dir, []int{2})
	if err != nil {
		t.Fatal(err)
	}
	id, err := Identify(dir, tk)
	if err != nil {
		t.Fatal(err)
	}
	return tk, id
}

func realOptions(t testing.TB, path, pack string, ctx int) Options {
	o := Options{Paths: []string{path}, Pack: pack, Ctx: ctx, TextField: "text", Vocab: 320}
	o.Encoder, o.Tokenizer = real(t)
	return o
}

// texts are the documents of a source as text, one for each row of pad.
func texts(t *testing.T, o Options) (out []string) {
	t.Helper()
	o.Pack, o.Ctx = "pad", 1<<20
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range s.Rows() {
		text, err := o.Encoder.Decode(s.Row(i).IDs)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	return out
}

func packed(t *testing.T, ext, content string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch ext {
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".zst":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return content
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Every format, plain and compressed, gives the documents that it holds.
func TestFormats(t *testing.T) {
	two := []string{"<s>one</s>", "<s>zwei\n\n</s>"}
	ask := func(s string) string {
		return "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n" + s + "\n\n### Response:"
	}
	in := "deep"
	for _, c := range []struct {
		name, content string
		want          []string
	}{
		{"a.txt", "one", two[:1]},
		{"a.md", "one", two[:1]},
		{"a.jsonl", "{\"text\":\"one\"}\n\n \r\n{\"n\":[1,{\"a\":\"}\"}],\"text\":\"zwei\\n\\n\"}", two},
		{"bom.jsonl", "\xef\xbb\xbf{\"text\":\"one\"}\r\n", two[:1]},
		{"a.json", "[{\"text\":\"one\"},\n {\"text\":\"zwei\\n\\n\", \"x\": \"\\\"]}\\\\\"}]\n", two},
		{"one.json", "{\"text\":\"one\"}", two[:1]},
		{"more.json", "{\"text\":\n\"one\"}\n{\"text\":\"zwei\\n\\n\"}\n", two},
		{"a.parquet", parquetOf(t, textRow{"one", 1}, textRow{"zwei\n\n", 2}), two},
		{"bad.jsonl", "{\"text\":\"a\xff\xe2\x82b\\ud800\"}", []string{"<s>a\ufffd\ufffdb\ufffd</s>"}},
		{"alpaca.json", `[{"instruction":"q","output":"a"}]`, []string{ask("q") + "a</s>"}},
		{"alpaca.parquet", parquetOf(t, alpacaRow{"q", nil, "a"}, alpacaRow{"q", &in, "b"}), []string{ask("q") + "a</s>",
			"<s>Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nq\n\n### Input:\ndeep\n\n### Response:b</s>"}},
		{"chat.jsonl", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`, []string{ask("q") + "a</s>"}},
		{"share.jsonl", `{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}`, []string{ask("q") + "a</s>"}},
		{"chat.parquet", parquetOf(t, chatRow{[]turnRow{{"user", "q"}, {"assistant", "a"}}, "1"}), []string{ask("q") + "a</s>"}},
	} {
		for _, ext := range []string{"", ".gz", ".zst"} {
			p := write(t, c.name+ext, packed(t, ext, c.content))
			if got := texts(t, realOptions(t, p, "", 0)); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s%s: %q, want %q", c.name, ext, got, c.want)
			}
		}
	}
}

// Records come in order however many batches they make.
func TestManyRecordsStayInOrder(t *testing.T) {
	var b strings.Builder
	const n = 3 * batchItems
	for i := range n {
		fmt.Fprintf(&b, "{\"text\":\"%d\"}\n", i)
	}
	got := texts(t, realOptions(t, write(t, "a.jsonl", b.String()), "", 0))
	if len(got) != n {
		t.Fatalf("%d documents", len(got))
	}
	for i, s := range got {
		if s != fmt.Sprintf("<s>%d</s>", i) {
			t.Fatalf("document %d is %s", i, s)
		}
	}
}

// What cannot be read is a data error that names the file, the place and the mend.
func TestBadFiles(t *testing.T) {
	old := maxRecord
	maxRecord = 300
	t.Cleanup(func() { maxRecord = old })
	const short = `{"instruction":"q","output":"a"}`
	long := "{\"instruction\":\"" + strings.Repeat("x", 400) + "\",\"output\":\"a\"}"
	pq := parquetOf(t, textRow{"one", 1})
	gz := packed(t, ".gz", "{\"text\":\"one\"}\n")
	zst := packed(t, ".zst", strings.Repeat("{\"text\":\"one\"}\n", 100))
	for _, c := range []struct {
		name, content string
		change        func(*Options)
		code          int
		want          []string
	}{
		{"empty.txt", "", nil, 4, []string{"empty.txt", "empty"}},
		{"empty.jsonl", "", nil, 4, []string{"empty.jsonl", "empty"}},
		{"blank.jsonl", "\n \n", nil, 4, []string{"blank.jsonl", "no document"}},
		{"none.json", "[ ]", nil, 4, []string{"none.json", "no document"}},
		{"empty.gz.txt.gz", "", nil, 4, []string{"empty"}},
		{"cut.jsonl.gz", gz[:len(gz)-9], nil, 4, []string{"cut.jsonl.gz", "truncated"}},
		{"no.jsonl.gz", "plain", nil, 4, []string{"no.jsonl.gz"}},
		{"cut.jsonl.zst", zst[:len(zst)-4], nil, 4, []string{"cut.jsonl.zst", "truncated"}},
		{"cut.parquet", pq[:len(pq)/2], nil, 4, []string{"cut.parquet", "parquet"}},
		{"no.parquet", "PAR1xxxxPAR1", nil, 4, []string{"no.parquet"}},
		{"field.parquet", pq, func(o *Options) { o.TextField = "body" }, 4, []string{"field.parquet", "row 1", "body", "text, n"}},
		{"field.jsonl", "{\"text\":\"a\"}\n{\"txt\":\"b\",\"id\":3}\n", nil, 4, []string{"field.jsonl:2", "\"text\"", "txt, id", "--text-field"}},
		{"first.jsonl", "{\"txt\":\"b\",\"id\":3}\n", nil, 4, []string{"first.jsonl:1", "--text-field", "txt, id"}},
		{"type.jsonl", "{\"text\":7}\n", nil, 4, []string{"type.jsonl:1", "a number"}},
		{"null.jsonl", "{\"text\":null}\n", nil, 4, []string{"null.jsonl:1", "null"}},
		{"syntax.jsonl", "{\"text\":\"a\"}\n{\"text\":\n", nil, 4, []string{"syntax.jsonl:2", "--skip-bad"}},
		{"list.jsonl", "{}\n[1]\n", func(o *Options) { o.SkipBad = false; o.Format = Text }, 4, []string{"list.jsonl:1", "no fields"}},
		{"list2.jsonl", "{\"text\":\"a\"}\n[1]\n", nil, 4, []string{"list2.jsonl:2", "a list"}},
		{"numbers.jsonl", "[1]\n", nil, 4, []string{"numbers.jsonl", "line 1", "'1'"}},
		{"open.json", "[{\"text\":\"a\"},", nil, 4, []string{"open.json", "truncated"}},
		{"after.json", "[{\"text\":\"a\"}] x", nil, 4, []string{"after.json", "end of the array"}},
		{"comma.json", "[{\"text\":\"a\"}\n{\"text\":\"b\"}]", nil, 4, []string{"comma.json", "line 2", "comma"}},
		{"number.json", "17", nil, 4, []string{"number.json"}},
		{"long.jsonl", short + "\n" + long + "\n", nil, 4, []string{"long.jsonl:2", "1 GiB"}},
		{"long.json", "[" + short + ",\n" + long + "]", nil, 4, []string{"long.json:2", "1 GiB"}},
		{"share.jsonl", short + "\n" + long + "\n", func(o *Options) { o.HostMem = 299 * recordShare }, 3, []string{"share.jsonl:2", "299 bytes", "--host-mem"}},
		{"odd.xyz", "text", nil, 4, []string{"odd.xyz", "--format text"}},
		{"plain.txt", "text", func(o *Options) { o.Format = Alpaca }, 2, []string{"--format alpaca", "plain.txt"}},
		{"noanswer.jsonl", "{\"instruction\":\"q\"}\n", nil, 4, []string{"noanswer.jsonl:1", "output", "no answer"}},
		{"empty.json", "[{\"instruction\":\"q\",\"output\":\" \"}]", nil, 4, []string{"empty.json:1", "output", "no answer"}},
		{"role.jsonl", `{"messages":[{"role":"narrator","content":"q"}]}`, nil, 4, []string{"role.jsonl:1", "messages[0]", "narrator"}},
		{"twice.jsonl", `{"messages":[{"role":"user","content":"q"},{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`, nil, 4, []string{"twice.jsonl:1", "messages[1]", "in a row"}},
		{"asks.jsonl", `{"conversations":[{"from":"human","value":"q"}]}`, nil, 4, []string{"asks.jsonl:1", "no answer"}},
		{"part.jsonl", `{"messages":[{"role":"user","content":[7]},{"role":"assistant","content":"a"}]}`, nil, 4, []string{"part.jsonl:1", "messages[0]", "content", "part 0 is a number"}},
		{"order.jsonl", `{"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"q"}]}`, func(o *Options) { o.Template = "llama2" }, 4, []string{"order.jsonl:1", "assistant"}},
		{"turns.jsonl", `{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`, func(o *Options) { o.Template = "longalpaca" }, 4, []string{"turns.jsonl:1", "messages[0]", "system", "llama2"}},
		{"more.jsonl", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"r"}]}`, nil, 4, []string{"more.jsonl:1", "messages[0]", "3 messages"}},
		{"vocab.txt", "q the", func(o *Options) { o.Vocab = 260 }, 4, []string{"vocab.txt: ", `(" the" of ../../testdata/tokenizer/tokenizer.json)`, "no row", "vocab_size is 260", "take it out of the text"}},
		{"begins.txt", "q", func(o *Options) { o.Vocab = 1 }, 4, []string{"begins each document", `token 1 ("<s>" of`, "vocab_size is 1"}},
		{"ends.txt", "q", func(o *Options) { o.Vocab = 2 }, 4, []string{"ends each document", `token 2 ("</s>" of`, "vocab_size is 2", "eos_token"}},
	} {
		o := realOptions(t, write(t, c.name, c.content), "", 8)
		if c.change != nil {
			c.change(&o)
		}
		s, err := Open(t.Context(), o)
		if err == nil {
			s.Close()
		}
		if errs.Code(err) != c.code {
			t.Errorf("%s: exit %d, want %d: %v", c.name, errs.Code(err), c.code, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", c.name, err, w)
			}
		}
	}
}

// A tokenizer may have more entries than the model has rows, which is said once.
func TestMoreEntriesThanRows(t *testing.T) {
	var log strings.Builder
	o := realOptions(t, write(t, "a.jsonl", "{\"text\":\"q\"}\n"), "pad", 8)
	o.Paths = append(o.Paths, write(t, "b.txt", "x y"))
	o.Vocab, o.Log = 260, &log
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := "the tokenizer has 288 entries and the model 260 rows: a text with token 260 ("
	if s.Rows() != 2 || strings.Count(log.String(), want) != 1 {
		t.Errorf("%d rows; %s", s.Rows(), log.String())
	}
}

// Malformed documents are passed over and counted when that is asked for, the overlong among them.
func TestSkipBad(t *testing.T) {
	old := maxRecord
	maxRecord = 300
	t.Cleanup(func() { maxRecord = old })
	long := "{\"instruction\":\"" + strings.Repeat("x", 400) + "\",\"output\":\"a\"}"
	const one = `{"instruction":"q","output":"a"}`
	for name, content := range map[string]string{
		"a.jsonl": "nonsense\n" + long + "\n" + one + "\n{\"no\":1}\n" + one + "\n{\"output\":",
		"a.json":  "[{\"no\":1}," + long + "," + one + ",{\"output\":7}," + one + ",{\"a\" 1}]",
	} {
		o := realOptions(t, write(t, name, content), "pad", 1000)
		o.SkipBad = true
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if st := s.Stats(0); st.Skipped != 4 || st.Documents != 2 || s.Rows() != 2 {
			t.Errorf("%s: %+v", name, st)
		}
		s.Close()
	}
}
