package ckpt

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/s2attn"
)

// mistral is a change that makes a Mistral of 3 layers, with more fields.
func mistral(more change) change {
	c := change{"architectures": []string{"MistralForCausalLM"}, "model_type": "mistral", "num_hidden_layers": 3, "num_key_value_heads": 2}
	for k, v := range more {
		c[k] = v
	}
	return c
}

var null = json.RawMessage("null") // where nil removes the field

const slide, full = "sliding_attention", "full_attention"

// Which layers have a window as transformers 5.17 has it: MistralForCausalLM, and MinistralForCausalLM where layer_types is
// there.
func TestWindows(t *testing.T) {
	for _, c := range []struct {
		what    string
		change  change
		windows []int
		notes   int
	}{
		{"a length", mistral(change{"sliding_window": 48}), []int{48, 48, 48}, 0},
		{"none", mistral(change{"sliding_window": null}), nil, 0},
		{"not named", mistral(nil), []int{4096, 4096, 4096}, 1},
		{"some layers", mistral(change{"sliding_window": 9, "layer_types": []string{full, slide, full}}), []int{0, 9, 0}, 0},
		{"some layers, no length", mistral(change{"layer_types": []string{slide, full, slide}}), []int{4096, 0, 4096}, 1},
		{"no layer", mistral(change{"sliding_window": 9, "layer_types": []string{full, full, full}}), nil, 0},
		{"no layer, no length", mistral(change{"sliding_window": null, "layer_types": []string{full, full, full}}), nil, 0},
		{"types null", mistral(change{"sliding_window": 9, "layer_types": null}), []int{9, 9, 9}, 0},
		{"used", mistral(change{"sliding_window": 9, "use_sliding_window": true}), []int{9, 9, 9}, 0},
		{"not used", mistral(change{"sliding_window": null, "use_sliding_window": false}), nil, 0},
		{"a LLaMA", change{"num_hidden_layers": 3}, nil, 0},
		{"a LLaMA with a length", change{"num_hidden_layers": 3, "sliding_window": 9}, nil, 1},
		{"a LLaMA with a length not used", change{"num_hidden_layers": 3, "sliding_window": 9, "use_sliding_window": false}, nil, 0},
		{"a LLaMA with types", change{"num_hidden_layers": 3, "layer_types": []string{full, slide, full}}, nil, 1},
		{"a LLaMA of full layers", change{"num_hidden_layers": 3, "layer_types": []string{full, full, full}}, nil, 0},
	} {
		plain, err := ReadConfig(configWith(t, change{}))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadConfig(configWith(t, c.change))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if notes := len(got.Notes) - len(plain.Notes); !reflect.DeepEqual(got.Windows, c.windows) || notes != c.notes {
			t.Errorf("%s: windows %v, want %v; notes %q", c.what, got.Windows, c.windows, got.Notes)
		}
		for _, choice := range []s2attn.Choice{s2attn.Keep, s2attn.Off, 5} { // what is written is what is in force
			raw := got.Derived()
			got.SetWindows(raw, choice)
			b, err := json.Marshal(raw)
			if err != nil {
				t.Fatal(err)
			}
			var written change
			if err := json.Unmarshal(b, &written); err != nil {
				t.Fatal(err)
			}
			for k := range got.Raw {
				if _, ok := written[k]; !ok && k != "layer_types" {
					t.Errorf("%s, %s: %s is lost", c.what, choice, k)
				}
			}
			again, err := ReadConfig(configOf(t, b))
			if err != nil || !slices.Equal(again.Windows, choice.Apply(c.windows)) {
				t.Errorf("%s, %s: written as %s, read as %v (%v)", c.what, choice, b, again.Windows, err)
			}
		}
	}
}

func TestWindowsRefused(t *testing.T) {
	for _, c := range []struct {
		field  string
		change change
	}{
		{"sliding_window", change{"sliding_window": "x"}},
		{"sliding_window", change{"sliding_window": 0}},
		{"sliding_window", change{"sliding_window": -1}},
		{"sliding_window", change{"sliding_window": 4096.5}},
		{"sliding_window", change{"sliding_window": []int{4096}}},
		{"sliding_window", change{"sliding_window": true}},
		{"sliding_window", change{"sliding_window": null, "layer_types": []string{full, slide, full}}},
		{"use_sliding_window", change{"sliding_window": 9, "use_sliding_window": false}},
		{"use_sliding_window", change{"use_sliding_window": false}},
		{"layer_types", change{"layer_types": []string{full, slide}}},
		{"layer_types", change{"layer_types": []string{full, "chunked_attention", full}}},
		{"layer_types", change{"layer_types": []any{full, 3, full}}},
		{"layer_types", change{"layer_types": slide}},
		{"layer_types", change{"layer_types": []string{}}},
	} {
		dir := configWith(t, mistral(c.change))
		_, err := ReadConfig(dir)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), filepath.Join(dir, "config.json")+": "+c.field+": ") || len(err.Error()) > 400 {
			t.Errorf("%v: %v, want exit code 4 naming the file and %s", c.change, err, c.field)
		}
	}
}
