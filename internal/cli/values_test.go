package cli

import (
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
	"longlora/internal/s2attn"
)

func TestParseBytes(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64 // 0: refused
	}{
		{"24G", 24 << 30}, {"24g", 24 << 30}, {"24GB", 24 << 30}, {"24GiB", 24 << 30}, {"24 GiB", 24 << 30}, {"24gb", 24 << 30},
		{"512M", 512 << 20}, {"512MB", 512 << 20}, {"512MiB", 512 << 20}, {"0.5K", 512}, {"2T", 2 << 40}, {"1e9", 1e9}, {"4096", 4096}, {"4096B", 4096},
		{"1.5G", 3 << 29}, {"", 0}, {"G", 0}, {"24X", 0}, {"24iB", 0}, {"24i", 0}, {"-1G", 0}, {"0", 0}, {"0.1", 0}, {"NaN", 0}, {"infG", 0}, {"9999999T", 0}, {"1e-400G", 0}, {"1e400G", 0}, {"24GiBB", 0},
	} {
		got, ok := parseBytes(c.text)
		if got != c.want || ok != (c.want != 0) {
			t.Errorf("%q is %d (%v), want %d", c.text, got, ok, c.want)
		}
	}
}

func TestParseTokens(t *testing.T) {
	for _, c := range []struct {
		text string
		want int // -1: refused
	}{
		{"32768", 32768}, {"32k", 32768}, {"32K", 32768}, {"1m", 1 << 20}, {"1M", 1 << 20}, {"0.5M", 1 << 19}, {"1_000", 1000}, {"0", 0},
		{"k", -1}, {"", -1}, {"32kk", -1}, {"32kb", -1}, {"0.3k", -1}, {"1.5", -1}, {"1e3", -1}, {"NaNk", -1}, {"infk", -1}, {"99999999999999999999", -1}, {"9e99k", -1}, {"1e-400k", -1}, {"1e400k", -1},
	} {
		got, err := parseTokens(c.text)
		if err == nil && got != c.want || err != nil && c.want != -1 {
			t.Errorf("%q is %d (%v), want %d", c.text, got, err, c.want)
		}
	}
}

// A list of lengths takes the forms of one length, and later mentions add to the first.
func TestTokensList(t *testing.T) {
	f := pflag.NewFlagSet("x", pflag.ContinueOnError)
	var list []int
	f.Var(&tokensList{list: &list}, "ctx", "")
	if err := f.Parse([]string{"--ctx", "8k,16384", "--ctx", "32k"}); err != nil {
		t.Fatal(err)
	}
	if s := f.Lookup("ctx").Value.String(); s != "[8192,16384,32768]" {
		t.Errorf("the lengths are %s", s)
	}
	if err := f.Parse([]string{"--ctx", "8k,x"}); err == nil {
		t.Error("x is taken for a length")
	}
}

func FuzzSizes(f *testing.F) {
	for _, s := range []string{"24GiB", "24G", "0.5k", "1e9", "-1", "i", "9t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := parseBytes(s); ok && (n < 1 || n > 1<<60) {
			t.Errorf("%q is %d bytes", s, n)
		}
		_, _ = parseTokens(s)
		a := s2attn.Options{Attn: "s2", Group: s}
		if g, err := a.GroupFor(1 << 20); err == nil && (g < 2 || g > 1<<20) {
			t.Errorf("--group %q of 2^20 tokens is %d", s, g)
		}
	})
}

func TestSuggest(t *testing.T) {
	known := []string{"model", "data", "ctx", "out", "lr", "rank", "alpha", "accum", "steps", "epochs"}
	for name, want := range map[string]string{
		"learning_rate": "lr", "lora_r": "rank", "lora_rank": "rank", "base_model": "model", "model_name_or_path": "model", "lora-alpha": "alpha",
		"gradient_accumulation_steps": "accum", "max_seq_length": "ctx", "output_dir": "out", "num_train_epochs": "epochs", "stesp": "steps", "Learning-Rate": "lr",
	} {
		if got := suggest(name, known); got != "; did you mean "+want+"?" {
			t.Errorf("%s suggests %q, want %s", name, got, want)
		}
	}
	if got := suggest("flash-attention-version", known); got != "" {
		t.Errorf("nothing of ours is like it, and it suggests %q", got)
	}
}

// What a message advises is the given command line with the change, to be typed as it stands.
func TestCommand(t *testing.T) {
	f := pflag.NewFlagSet("plan", pflag.ContinueOnError)
	Define("plan", f)
	if err := f.Parse([]string{"--shape", "tiny", "--ctx", "8k", "--data", "my books/a.txt", "--data", "b's.txt", "--targets", "q_proj,v_proj", "--json"}); err != nil {
		t.Fatal(err)
	}
	v, err := Load(f)
	if err != nil {
		t.Fatal(err)
	}
	got := v.Command(errs.Advice{{Option: "train-embed", Value: "false"}, {Option: "ctx", Value: "4096"}, {Option: "targets"}})
	want := `longlora plan --shape tiny --data 'my books/a.txt' --data 'b'\''s.txt' --ctx 4096 --train-embed=false --json`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
