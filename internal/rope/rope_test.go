package rope

import (
	"encoding/json"
	"math"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

func parse(t *testing.T, s string) map[string]any {
	t.Helper()
	var raw map[string]any
	if err := decode([]byte(s), &raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

// Inverse frequencies of every type against transformers' own functions.
func TestInvFreqIsTransformers(t *testing.T) {
	b := testkit.Read(t, "testdata/transformers.json")
	var cases []struct {
		Config  json.RawMessage
		HeadDim int `json:"head_dim"`
		Length  int
		Inv     []float64
		Scale   float64
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		p, err := FromConfig("config.json", parse(t, string(c.Config)))
		if err != nil {
			t.Fatal(err)
		}
		inv, scale := p.InvFreq(c.HeadDim, c.Length)
		if !(math.Abs(float64(scale)-c.Scale) <= 1e-6) || len(inv) != len(c.Inv) {
			t.Errorf("case %d (%s): scale %v, want %v", i, p, scale, c.Scale)
		}
		for k, v := range inv {
			if e := math.Abs(float64(v)/c.Inv[k] - 1); !(e <= 1e-6) { // a few float32 roundings
				t.Errorf("case %d (%s): frequency %d is %v, want %v", i, c.Config, k, v, c.Inv[k])
			}
		}
	}
}

func TestResolve(t *testing.T) {
	const plain = `{"max_position_embeddings":4096,"rope_theta":10000.0}`
	const raised = `{"max_position_embeddings":4096,"rope_theta":1e10}`
	const linear = `{"max_position_embeddings":32768,"rope_scaling":{"type":"linear","factor":8.0},"original_max_position_embeddings":4096}`
	const unsaid = `{"max_position_embeddings":4096,"rope_scaling":{"type":"linear","factor":4.0}}`
	const llama3 = `{"max_position_embeddings":131072,"rope_parameters":{"rope_type":"llama3","rope_theta":500000.0,"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}}`
	for _, c := range []struct {
		base    string
		req     Request
		typ     string
		factor  float64
		changed bool
		code    int
	}{
		{plain, Request{Ctx: 4096}, "default", 1, false, 0},
		{plain, Request{Ctx: 16384}, "linear", 4, true, 0},
		{plain, Request{Ctx: 12289}, "linear", 4, true, 0},
		{plain, Request{Rope: "yarn", Ctx: 8192}, "yarn", 2, true, 0},
		{plain, Request{Rope: "linear", Factor: 3, Ctx: 2048}, "linear", 3, true, 0},
		{plain, Request{Factor: 6, Ctx: 100}, "linear", 6, true, 0},
		{linear, Request{Ctx: 32768}, "linear", 8, false, 0},
		{linear, Request{Ctx: 65536}, "linear", 16, true, 0},
		{linear, Request{Rope: "none", Ctx: 65536}, "default", 1, true, 0},
		{unsaid, Request{Ctx: 4096}, "linear", 4, false, 0},
		{unsaid, Request{Ctx: 8192}, "", 0, false, 2},
		{unsaid, Request{Ctx: 8192, BaseCtx: 1024}, "linear", 8, true, 0},
		{unsaid, Request{Ctx: 16384, BaseCtx: 4096}, "linear", 4, false, 0},
		{llama3, Request{Ctx: 131072}, "llama3", 8, false, 0},
		{llama3, Request{Ctx: 262144}, "llama3", 16, true, 0},
		{plain, Request{Ctx: 1 << 30}, "linear", 1 << 18, true, 0},
		{plain, Request{Ctx: 1 << 30, BaseCtx: 512}, "", 0, false, 2}, // what no config may have
		{plain, Request{Rope: "ntk", Factor: 1 << 20, Ctx: 4096}, "default", 1, true, 0},
		{raised, Request{Rope: "ntk", Factor: 1 << 20, Ctx: 4096}, "", 0, false, 2},
	} {
		p, err := FromConfig("config.json", parse(t, c.base))
		if err != nil {
			t.Fatal(err)
		}
		q, changed, err := p.Resolve(c.req, 128)
		if errs.Code(err) != c.code || err == nil && (q.Type != c.typ || q.Factor != c.factor || changed != c.changed) {
			t.Errorf("%s %+v: %s changed=%v %v", c.base, c.req, q, changed, err)
		}
	}
}

// Extending again counts from the same pre-training length; ntk raises theta and starts a new count.
func TestWrittenConfigsExtendAgain(t *testing.T) {
	for _, kind := range []string{"linear", "yarn", "llama3", "ntk"} {
		for _, base := range []string{`{"max_position_embeddings":4096,"rope_theta":10000.0,"rope_scaling":null}`,
			`{"max_position_embeddings":4096,"rope_parameters":{"rope_type":"default","rope_theta":10000.0}}`} {
			raw := parse(t, base)
			p, err := FromConfig("config.json", raw)
			if err != nil {
				t.Fatal(err)
			}
			q, _, err := p.Resolve(Request{Rope: kind, Ctx: 16384}, 128)
			if err != nil {
				t.Fatal(err)
			}
			q.WriteConfig(raw)
			b, err := json.Marshal(raw)
			if err != nil {
				t.Fatal(err)
			}
			again, err := FromConfig("config.json", parse(t, string(b)))
			if err != nil || again.Reads(0) != 16384 || again.Differs(q) {
				t.Fatalf("%s: wrote %s, read %+v, %v", kind, b, again, err)
			}
			more, changed, err := again.Resolve(Request{Ctx: 32768}, 128)
			want := 8.0
			if kind == "ntk" {
				want = 2
			}
			if err != nil || !changed || more.Factor != want {
				t.Errorf("%s to 32768: %s (%v) %v, want factor %v", kind, more, changed, err, want)
			}
		}
	}
}

// Positions that did not change are the base's own after they were kept beside an adapter, wherever the base's config
// writes the pre-training length.
func TestKeptRecordIsTheBases(t *testing.T) {
	for _, base := range []string{
		`{"max_position_embeddings":128,"rope_scaling":{"rope_type":"linear","factor":4,"original_max_position_embeddings":32}}`,
		`{"max_position_embeddings":128,"rope_scaling":{"type":"linear","factor":4},"original_max_position_embeddings":32}`,
		`{"max_position_embeddings":128,"rope_scaling":{"type":"yarn","factor":4}}`,
		`{"max_position_embeddings":256,"rope_parameters":{"rope_type":"llama3","factor":8,"original_max_position_embeddings":32}}`,
		`{"max_position_embeddings":64,"rope_scaling":{"type":"dynamic","factor":2,"original_max_position_embeddings":32}}`,
	} {
		p, err := FromConfig("config.json", parse(t, base))
		if err != nil {
			t.Fatal(err)
		}
		if q, changed, err := p.FromRecord("run.json", p.Record()); err != nil || changed {
			t.Errorf("%s: became %+v, %v", base, q, err)
		}
	}
}

func FuzzFromConfig(f *testing.F) {
	f.Add(`{"max_position_embeddings":1,"rope_scaling":{"type":"yarn","factor":1}}`)
	f.Add(`{"rope_parameters":[]}`)
	f.Fuzz(func(t *testing.T, s string) {
		var raw map[string]any
		if decode([]byte(s), &raw) == nil && raw != nil {
			if p, err := FromConfig("x", raw); err == nil && (p.MaxPos < 0 || !(p.Factor > 0)) {
				t.Errorf("%s: %+v", s, p)
			}
		}
	})
}

// What auto takes beyond the base's length is the request's, with a margin on how far it reaches; a base that scales
// keeps its type without one, and neither a type nor a factor that is asked for has one.
func TestBeyond(t *testing.T) {
	plain := `{"max_position_embeddings":1024,"rope_theta":10000}`
	yarn := `{"max_position_embeddings":1024,"rope_theta":10000,"rope_scaling":{"rope_type":"yarn","factor":2,"original_max_position_embeddings":512}}`
	smollm := `{"max_position_embeddings":8192,"rope_theta":100000}`
	short := `{"max_position_embeddings":4,"rope_theta":10000}`
	const d = 64
	raised := func(f float64) float64 { return 10000 * math.Pow(f, float64(d)/(d-2)) }
	for _, c := range []struct {
		config string
		r      Request
		kind   string
		factor float64
		theta  float64
	}{
		{plain, Request{Ctx: 4096}, "linear", 4, 10000},
		{plain, Request{Ctx: 4096, Beyond: "linear", Margin: 1}, "linear", 4, 10000},
		{plain, Request{Ctx: 4096, Beyond: "ntk", Margin: 1.1}, "default", 1, raised(13.4)},
		{smollm, Request{Ctx: 32768, Beyond: "ntk", Margin: 1.1}, "default", 1, raised(10) * 10},
		{smollm, Request{Ctx: 32768, Beyond: "ntk", Margin: 1.25}, "default", 1, raised(12.2) * 10},
		{short, Request{Ctx: 16, Beyond: "ntk", Margin: 1.1}, "default", 1, raised(17.6)},
		{plain, Request{Ctx: 4000, Beyond: "yarn", Margin: 2}, "yarn", 8, 10000},
		{plain, Request{Ctx: 1024, Beyond: "ntk", Margin: 1.1}, "default", 1, 10000},
		{plain, Request{Ctx: 4096, Factor: 5, Beyond: "ntk", Margin: 1.1}, "default", 1, raised(5)},
		{plain, Request{Ctx: 4096, Rope: "ntk", Beyond: "ntk", Margin: 1.1}, "default", 1, raised(4)},
		{plain, Request{Ctx: 4096, Rope: "linear", Beyond: "ntk", Margin: 1.1}, "linear", 4, 10000},
		{yarn, Request{Ctx: 4096, Beyond: "ntk", Margin: 1.1}, "yarn", 8, 10000},
	} {
		p, err := FromConfig("config.json", parse(t, c.config))
		if err != nil {
			t.Fatal(err)
		}
		q, _, err := p.Resolve(c.r, d)
		if err != nil || q.Type != c.kind || q.Factor != c.factor || math.Abs(q.Theta/c.theta-1) > 1e-12 || q.MaxPos != c.r.Ctx {
			t.Errorf("%+v: %s ×%g, theta %g for %d (%v); want %s ×%g, theta %g", c.r, q.Type, q.Factor, q.Theta, q.MaxPos, err, c.kind, c.factor, c.theta)
		}
	}
}
