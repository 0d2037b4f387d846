package rope

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// Every spelling that transformers reads has the length and the frequencies that it gives them; what it refuses is
// exit 4.
func TestSpellingsAreTransformers(t *testing.T) {
	b := testkit.Read(t, "testdata/spellings.json")
	var cases []struct {
		Config json.RawMessage
		MaxPos int `json:"max_position_embeddings"`
		Inv    []float64
		Scale  float64
	}
	if err := json.Unmarshal(b, &cases); err != nil || len(cases) < 40 {
		t.Fatal(len(cases), err)
	}
	for _, c := range cases {
		p, err := FromConfig("config.json", parse(t, string(c.Config)))
		if c.Inv == nil {
			if errs.Code(err) != 4 || !strings.Contains(err.Error(), "config.json: rope_") {
				t.Errorf("%s: %v, want exit code 4 naming the field", c.Config, err)
			}
			continue
		}
		if err != nil || p.MaxPos != c.MaxPos {
			t.Errorf("%s: max_position_embeddings %d, want %d, %v", c.Config, p.MaxPos, c.MaxPos, err)
			continue
		}
		inv, scale := p.InvFreq(16, 1)
		for k, v := range inv {
			if !(math.Abs(float64(v)/c.Inv[k]-1) <= 1e-6) || !(math.Abs(float64(scale)-c.Scale) <= 1e-6) {
				t.Errorf("%s: frequency %d is %v × %v, want %v × %v", c.Config, k, v, scale, c.Inv[k], c.Scale)
				break
			}
		}
	}
}

// What has no field of transformers' own: the first LLaMA configs' length, and LongChat's ratio, which is linear scaling
// (positions divided by it) and becomes so when positions change.
func TestOtherSpellings(t *testing.T) {
	for _, c := range []struct {
		config string
		want   Positions
		reads  int
		notes  int
	}{
		{`{"max_sequence_length":64}`, Positions{Type: "default", Factor: 1, MaxPos: 64}, 64, 0},
		{`{"max_position_embeddings":2048,"max_sequence_length":16384,"rope_condense_ratio":8}`, Positions{Type: "linear", Factor: 8, MaxPos: 2048}, 16384, 1},
		{`{"max_position_embeddings":2048,"rope_condense_ratio":8,"rope_scaling":{"type":"linear","factor":8.0}}`, Positions{Type: "linear", Factor: 8, MaxPos: 2048}, 2048, 0},
		{`{"max_position_embeddings":2048,"rope_condense_ratio":1}`, Positions{Type: "default", Factor: 1, MaxPos: 2048}, 2048, 0},
		{`{"max_position_embeddings":2048,"rope_condense_ratio":null}`, Positions{Type: "default", Factor: 1, MaxPos: 2048}, 2048, 0},
		{`{"architectures":["MistralForCausalLM"]}`, Positions{Type: "default", Factor: 1, MaxPos: 131072}, 131072, 1},
	} {
		p, err := FromConfig("config.json", parse(t, c.config))
		if err != nil || p.Type != c.want.Type || p.Factor != c.want.Factor || p.MaxPos != c.want.MaxPos || p.Reads(0) != c.reads || len(p.Notes) != c.notes {
			t.Errorf("%s: %+v reads %d, %v", c.config, p, p.Reads(0), err)
		}
	}
	raw := parse(t, `{"max_position_embeddings":2048,"max_sequence_length":16384,"rope_condense_ratio":8}`)
	p, err := FromConfig("config.json", raw)
	if err != nil {
		t.Fatal(err)
	}
	q, changed, err := p.Resolve(Request{Ctx: 32768}, 128)
	if err != nil || !changed || q.Factor != 16 {
		t.Fatalf("to 32768: %+v, %v", q, err)
	}
	q.WriteConfig(raw)
	want := parse(t, `{"max_position_embeddings":32768,"original_max_position_embeddings":2048,"rope_theta":10000.0,"rope_scaling":{"type":"linear","factor":16.0}}`)
	if again, b := roundTrip(t, raw); !reflect.DeepEqual(again, want) {
		t.Errorf("wrote %s", b)
	}
	if back, changed, err := p.FromRecord("run.json", p.Record()); err != nil || changed || back.Reads(0) != 16384 {
		t.Errorf("its record became %+v, %v", back, err)
	}
}

// roundTrip is an object as a reader of its JSON has it.
func roundTrip(t *testing.T, raw map[string]any) (map[string]any, []byte) {
	t.Helper()
	b, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(b)), b
}

// The type's key is the base's own; where the base has no scaling in the older spelling it is the one that the releases
// which know the type read.
func TestTypeKey(t *testing.T) {
	for _, c := range []struct{ base, rope, want string }{
		{`"rope_scaling":null`, "linear", "type"},
		{`"rope_scaling":null`, "dynamic", "type"},
		{`"rope_scaling":null`, "yarn", "rope_type"},
		{`"rope_scaling":null`, "llama3", "rope_type"},
		{`"rope_scaling":{}`, "linear", "type"},
		{`"rope_theta":1e4`, "linear", "type"},
		{`"rope_condense_ratio":2`, "linear", "type"},
		{`"rope_scaling":{"type":"linear","factor":2.0}`, "linear", "type"},
		{`"rope_scaling":{"type":"linear","factor":2.0}`, "yarn", "type"},
		{`"rope_scaling":{"rope_type":"linear","factor":2.0}`, "linear", "rope_type"},
		{`"rope_scaling":{"rope_type":"linear","type":"linear","factor":2.0}`, "yarn", "rope_type type"},
		{`"rope_scaling":{"rope_type":"default"}`, "linear", "rope_type"},
		{`"rope_parameters":{"rope_type":"default","rope_theta":1e4}`, "linear", "rope_type"},
		{`"rope_parameters":{"type":"linear","factor":2.0}`, "linear", "type"},
		{`"rope_parameters":{"rope_theta":1e4}`, "dynamic", "rope_type"},
	} {
		raw := parse(t, `{"max_position_embeddings":64,"original_max_position_embeddings":32,`+c.base+`}`)
		p, err := FromConfig("config.json", raw)
		if err != nil {
			t.Fatal(err)
		}
		q, _, err := p.Resolve(Request{Rope: c.rope, Ctx: 512}, 16)
		if err != nil {
			t.Fatalf("%s to %s: %v", c.base, c.rope, err)
		}
		back, _, err := p.FromRecord("run.json", q.Record()) // as a merge has it
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []Positions{q, back} {
			q.WriteConfig(raw)
			key := "rope_scaling"
			if raw["rope_parameters"] != nil {
				key = "rope_parameters"
			}
			d := raw[key].(map[string]any)
			var got []string
			for _, k := range []string{"rope_type", "type"} {
				if d[k] == c.rope {
					got = append(got, k)
				} else if d[k] != nil {
					t.Errorf("%s to %s: %s is %v", c.base, c.rope, k, d[k])
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s to %s: the type stands under %v, want %s", c.base, c.rope, got, c.want)
			}
			if b, err := json.Marshal(raw); err != nil {
				t.Error(err)
			} else if again, err := FromConfig("config.json", parse(t, string(b))); err != nil || again.Differs(q) {
				t.Errorf("%s to %s: wrote %s, read %+v, %v", c.base, c.rope, b, again, err)
			}
		}
	}
}

func TestFromConfigRefuses(t *testing.T) {
	for config, want := range map[string]string{
		`{"max_position_embeddings":1e300}`:                                                       "max_position_embeddings: 1e300 is more",
		`{"max_position_embeddings":12.5}`:                                                        "max_position_embeddings: 12.5 is not a whole number",
		`{"max_position_embeddings":-1}`:                                                          "max_position_embeddings: -1 is not a positive number",
		`{"max_position_embeddings":"4096"}`:                                                      `max_position_embeddings: "4096" is not a positive number`,
		`{"max_sequence_length":true}`:                                                            "max_sequence_length: true is not",
		`{"rope_theta":1e200}`:                                                                    "rope_theta: 1e200 is more",
		`{"rope_scaling":{"type":"linear","factor":1e30}}`:                                        "rope_scaling.factor: 1e30 is more",
		`{"rope_scaling":{"type":"linear","rope_type":"yarn","factor":2}}`:                        "rope_scaling.rope_type: yarn and rope_scaling.type linear contradict",
		`{"rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"rope_type":"default"}}`: "rope_scaling: contradicts rope_parameters",
		`{"rope_condense_ratio":8,"rope_scaling":{"type":"linear","factor":4.0}}`:                 "rope_condense_ratio: 8 contradicts",
		`{"original_max_position_embeddings":64,"rope_scaling":{"type":"yarn","factor":8.0,"original_max_position_embeddings":32}}`: "original_max_position_embeddings: 64 contradicts rope_scaling.original_max_position_embeddings, 32",
		`{"rope_condense_ratio":8,"rope_scaling":{"type":"yarn","factor":8.0}}`:                                                     "rope_condense_ratio: 8 contradicts",
		`{"rope_condense_ratio":"8"}`:                                                                  "rope_condense_ratio",
		`{"rope_scaling":{"type":"` + strings.Repeat("x", 500) + `"}}`:                                 "…",
		`{"rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1}}`:       "high_freq_factor",
		`{"rope_scaling":{"type":"linear","factor":2,"original_max_position_embeddings":"\u001b[2J"}}`: `\u001b`,
	} {
		_, err := FromConfig("config.json", parse(t, config))
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%.80s: %v, want exit code 4 and %q", config, err, want)
		}
	}
}
