package ckpt

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"longlora/internal/model"
	"longlora/internal/s2attn"
)

// unsaidWindow is transformers' W for a Mistral whose config.json does not name the field; null means none there too.
const unsaidWindow = 4096

// windows reads which layers have a sliding window, and of how many tokens. layer_types wins, as in transformers, which
// takes a Mistral with it for a Ministral.
func (f *fields) windows(c *Config) {
	types := f.layerTypes(c.L)
	given, said := f.raw["sliding_window"]
	if c.Arch.Config.Windows == model.NoWindows {
		if given != nil && f.raw["use_sliding_window"] != false || slices.Contains(types, true) {
			name := "sliding_window"
			if given == nil {
				name = "layer_types"
			}
			c.Notes = append(c.Notes, fmt.Sprintf("%s: %s is ignored: a %s has no sliding window, in transformers neither", f.path, name, c.Arch.Class))
		}
		return
	}
	w := 0
	switch {
	case given != nil:
		w = f.count("sliding_window", -1)
	case !said:
		w = unsaidWindow
		c.Notes = append(c.Notes, fmt.Sprintf("%s: sliding_window is missing: %d, as in transformers", f.path, w))
	case slices.Contains(types, true):
		f.fail("sliding_window", "null, but layer_types has layers of sliding_attention; give their window in tokens")
	}
	if use, ok := f.raw["use_sliding_window"].(bool); ok && !use && w > 0 { // transformers passes it over for a Mistral
		f.fail("use_sliding_window", "false contradicts sliding_window %d; write null there, or remove this field", w)
	}
	if w == 0 || types != nil && !slices.Contains(types, true) {
		return
	}
	c.Windows = make([]int, c.L)
	for l := range c.Windows {
		if types == nil || types[l] {
			c.Windows[l] = w
		}
	}
}

// layerTypes says of each layer whether it has a sliding window, nil where the field is not there.
func (f *fields) layerTypes(layers int) []bool {
	const name = "layer_types"
	v := f.raw[name]
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok || len(list) != layers {
		f.fail(name, "%s is not a list of %d layers, as num_hidden_layers says", show(v), layers)
		return nil
	}
	out := make([]bool, layers)
	for l, v := range list {
		switch v {
		case "sliding_attention":
			out[l] = true
		case "full_attention":
		default:
			f.fail(name, "%s of layer %d is not one of sliding_attention, full_attention", show(v), l)
		}
	}
	return out
}

// SetWindows writes into the object of a config.json what has been made of the sliding windows. Where none is left
// layer_types goes: transformers takes a model with it for one that has a window.
func (c *Config) SetWindows(raw map[string]any, choice s2attn.Choice) {
	switch {
	case c.Windows == nil || choice == s2attn.Keep:
	case choice == s2attn.Off:
		raw["sliding_window"] = nil
		delete(raw, "layer_types")
	default:
		raw["sliding_window"] = json.Number(strconv.Itoa(int(choice)))
	}
}
