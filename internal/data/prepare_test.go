package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"longlora/internal/data/datafile"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/testkit"
)

// alpacas are n examples of growing length.
func alpacas(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"instruction\":\"task %d%s\",\"output\":\"answer %d\"}\n", i, strings.Repeat(" the word", i%29), i)
	}
	return b.String()
}

func chats(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"messages\":[{\"role\":\"user\",\"content\":\"q%d\"},{\"role\":\"assistant\",\"content\":\"a%s\"},{\"role\":\"user\",\"content\":\"r\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n", i, strings.Repeat("n", i%17))
	}
	return b.String()
}

func textLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"text\":\"document %d%s\"}\n", i, strings.Repeat(" of it", i%23))
	}
	return b.String()
}

// A prepared file gives the rows of its source under every pack, whatever --overlong and --train-on-prompt say.
func TestPreparedIsAsItsSource(t *testing.T) {
	yes := true
	for name, content := range map[string]string{"text": textLines(300), "alpaca": alpacas(300), "chat": chats(300)} {
		src := write(t, name+".jsonl", content)
		for _, prompt := range []*bool{nil, &yes} {
			bin := filepath.Join(t.TempDir(), "sub", name+".bin")
			o := realOptions(t, src, "", 0)
			o.Template, o.TrainOnPrompt = "llama2", prompt
			res, err := Prepare(t.Context(), o, bin, "test")
			if err != nil || res.Documents != 300 {
				t.Fatalf("%+v, %v", res, err)
			}
			if st, err := os.Stat(bin); err != nil || st.Size() != 2*res.Tokens {
				t.Errorf("%d tokens in %v, %v", res.Tokens, st, err)
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(bin), ".*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left over: %v, %v", left, err)
			}
			for _, pack := range []string{"auto", "concat", "cut", "pad"} {
				for _, overlong := range []string{"drop", "truncate"} {
					a, b := realOptions(t, src, pack, 96), realOptions(t, bin, pack, 96)
					a.Template, a.Overlong, a.TrainOnPrompt, b.Overlong = "llama2", overlong, prompt, overlong
					x, err := Open(t.Context(), a)
					if err != nil {
						t.Fatal(err)
					}
					y, err := Open(t.Context(), b)
					if err != nil {
						t.Fatal(err)
					}
					if x.Rows() == 0 || x.Rows() != y.Rows() || x.Stats(50) != y.Stats(50) {
						t.Errorf("%s %s: %d rows, prepared %d; %+v, prepared %+v", name, pack, x.Rows(), y.Rows(), x.Stats(50), y.Stats(50))
					}
					for i := range x.Rows() {
						if !reflect.DeepEqual(x.Row(i), y.Row(i)) {
							t.Fatalf("%s %s: row %d is\n%v, prepared\n%v", name, pack, i, x.Row(i), y.Row(i))
						}
					}
					x.Close()
					y.Close()
				}
			}
		}
	}
}

// Interrupted anywhere, prepare goes on to the same bytes; so it does after a kill that left more than was saved.
func TestPrepareGoesOn(t *testing.T) {
	src := write(t, "a.jsonl", alpacas(3*batchItems)) // several batches
	whole := filepath.Join(t.TempDir(), "a.bin")
	if _, err := Prepare(t.Context(), realOptions(t, src, "", 0), whole, "test"); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "a.bin")
	s, err := openSource(src, ptr(realOptions(t, src, "", 0)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.openEncoder(); err != nil {
		t.Fatal(err)
	}
	p := preparation{s: s, out: bin, part: filepath.Join(filepath.Dir(bin), ".a.bin.part")}
	if p.want, err = s.describe("test"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.enter(), p.open()); err != nil {
		t.Fatal(err)
	}
	n := 0
	err = s.encode(t.Context(), place{}, func(r *result) error {
		if n++; n == 3 {
			return context.Canceled
		}
		p.state.Place, p.state.Bytes = r.after, p.state.Bytes+int64(r.size)
		for _, id := range r.ids {
			p.state.MaxID = max(p.state.MaxID, id)
		}
		return p.w.Add(r.ids, r.docs)
	})
	if err == nil {
		t.Fatal("not interrupted")
	}
	if err := p.save(); err != nil {
		t.Fatal(err)
	}
	// what was written after the last save, and half of it at that
	for _, f := range p.f {
		if _, err := f.WriteString("torn"); err != nil {
			t.Fatal(err)
		}
	}
	p.close()
	if p.state.Count == 0 || p.state.Count >= 3*batchItems {
		t.Fatalf("%d documents before the break", p.state.Count)
	}
	if _, err := Prepare(t.Context(), realOptions(t, src, "", 0), bin, "test"); err != nil {
		t.Fatal(err)
	}
	for _, ext := range []string{"", ".idx"} {
		a, err1 := os.ReadFile(whole + ext)
		b, err2 := os.ReadFile(bin + ext)
		if err1 != nil || err2 != nil || string(a) != string(b) {
			t.Errorf("F.bin%s differs after going on (%v, %v)", ext, err1, err2)
		}
	}
	again, err := Prepare(t.Context(), realOptions(t, src, "", 0), bin, "test")
	if err != nil || again.Documents != 3*batchItems {
		t.Errorf("prepared already: %+v, %v", again, err)
	}
}

func ptr[T any](v T) *T { return &v }

// A cancelled prepare says so with its own exit code; a fault of the data leaves nothing.
func TestPrepareEndsEarly(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "a.bin")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Prepare(ctx, realOptions(t, write(t, "a.jsonl", alpacas(20)), "", 0), bin, "test"); errs.Code(err) != 130 {
		t.Errorf("cancelled: %v", err)
	}
	bin = filepath.Join(t.TempDir(), "a.bin")
	_, err := Prepare(t.Context(), realOptions(t, write(t, "a.jsonl", alpacas(20)+"{"), "", 0), bin, "test")
	if errs.Code(err) != 4 || !strings.Contains(err.Error(), "a.jsonl:21") {
		t.Errorf("malformed: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(bin)); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// What lies at --out and was not written by prepare stays as it is; what a preparation left, whole or in parts, is
// written over.
func TestPrepareOverwritesItsOwnAlone(t *testing.T) {
	src := write(t, "a.jsonl", textLines(3))
	other := write(t, "b.jsonl", textLines(4))
	prepare := func(data, bin string) error {
		_, err := Prepare(t.Context(), realOptions(t, data, "", 0), bin, "test")
		return err
	}
	for _, name := range []string{"a.bin", "a.bin.json", "a.bin.idx", ".a.bin.part/notes"} {
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, name), "precious")
		bin := filepath.Join(dir, "a.bin")
		if err := prepare(filepath.Join(dir, "nowhere.jsonl"), bin); errs.Code(err) != 2 || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != "precious" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for _, gone := range [][]string{{}, {""}, {".json"}, {".idx"}, {"", ".json"}, {"", ".idx"}} {
		bin := filepath.Join(t.TempDir(), "a.bin")
		if err := prepare(src, bin); err != nil {
			t.Fatal(err)
		}
		for _, g := range gone {
			if err := os.Remove(bin + g); err != nil {
				t.Fatal(err)
			}
		}
		if err := prepare(other, bin); err != nil {
			t.Errorf("without %q: %v", gone, err)
		}
	}
}

// Who comes second to a file that is being written is told what to do, as by every command.
func TestTwoPrepare(t *testing.T) {
	o, out := realOptions(t, write(t, "a.jsonl", textLines(3)), "", 0), filepath.Join(t.TempDir(), "a.bin")
	lock, err := files.Lock(partDir(out), "")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	_, err = Prepare(t.Context(), o, out, "test")
	if errs.Code(err) != 2 || !strings.Contains(err.Error(), "another prepare is writing it; wait for it, or choose another name") {
		t.Errorf("%v", err)
	}
}

// Of several that write one file at once each ends with it, whole, or is told to wait: who waits while another
// finishes does not write into what that one made.
func TestPreparesAtOnce(t *testing.T) {
	src, out := write(t, "a.jsonl", textLines(300)), filepath.Join(t.TempDir(), "a.bin")
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			o := realOptions(t, src, "", 0)
			o.NoSpecial = i%2 == 1
			if _, err := Prepare(t.Context(), o, out, "test"); err != nil && errs.Code(err) != 2 {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	c, err := readSidecar(out)
	if err != nil || c == nil || changed(out, c.Bin) || changed(datafile.IndexPath(out), c.Index) {
		t.Errorf("%+v, %v", c, err)
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 3 {
		t.Errorf("%v, %v", left, err)
	}
}

// A file and a folder whose names are in another encoding are known again.
func TestPreparedOfAnyName(t *testing.T) {
	src := filepath.Join(t.TempDir(), "b\xFCcher", "caf\xE9.jsonl")
	testkit.Write(t, src, textLines(3))
	for _, data := range []string{src, filepath.Dir(src)} {
		bin := filepath.Join(t.TempDir(), "\xE9.bin")
		for i := range 2 {
			var log strings.Builder
			o := realOptions(t, data, "", 0)
			o.Log = &log
			if _, err := Prepare(t.Context(), o, bin, "test"); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(log.String(), "was prepared already") != (i == 1) {
				t.Errorf("%q, call %d: %s", data, i, log.String())
			}
		}
	}
}

// The place that cannot be written to is named as it was given.
func TestPrepareNowhere(t *testing.T) {
	file := write(t, "a.jsonl", textLines(3))
	out := filepath.Join(file, "a.bin") // a file where a folder is meant
	if _, err := Prepare(t.Context(), realOptions(t, file, "", 0), out, "test"); errs.Code(err) != 4 || !strings.Contains(err.Error(), out) {
		t.Errorf("%v", err)
	}
}
