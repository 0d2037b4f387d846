package extend_test

import (
	"bytes"
	"testing"

	"longlora/internal/data"
	"longlora/internal/eval"
	"longlora/internal/load"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
	"longlora/internal/tokenizer"
)

const (
	demo = "../../testdata/demo"
	own  = 128 // the bundled model's length
	row  = 4 * own
)

// The bundled model finds facts at its own length and none at four times that, which is what `make demo` mends.
func TestBundledModelRecalls(t *testing.T) {
	c := eval.Options{Models: []string{demo + "/model"}, Tasks: []string{"passkey"}, Ctx: []int{own, row}, Options: s2attn.Options{Attn: "full"},
		Trials: 2, Depths: 5, Seed: 1, Words: demo + "/passkey.yaml"}
	rep, err := eval.Run(t.Context(), eval.Job{Options: c}, cpu.New(2), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if near, far := *rep.Results[0].Accuracy, *rep.Results[1].Accuracy; near < 0.9 || far > 0.4 {
		t.Errorf("recall %v at %d tokens and %v at %d", near, own, far, row)
	}
}

// Every word of the bundled text is one token, so that a document is one row of what the demo extends to.
func TestBundledText(t *testing.T) {
	b, err := load.Open(demo+"/model", "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	enc, err := tokenizer.Load(b.Dir, b.Config.EOS)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := data.Stream(t.Context(), data.Options{Paths: []string{demo + "/text.jsonl.gz"}, Format: "auto", TextField: "text", Vocab: b.Desc().V, Encoder: enc})
	if err != nil {
		t.Fatal(err)
	}
	defer ids.Close()
	for i, id := range ids.Slice(0, ids.Len()) {
		if end := i%row == row-1; end != (id == 1) || id < 258 && !end {
			t.Fatalf("token %d is %d", i, id)
		}
	}
	if n := ids.Len(); n < 1<<20 || n%row != 0 {
		t.Errorf("%d tokens", n)
	}
}
