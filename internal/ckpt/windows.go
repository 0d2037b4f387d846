package ckpt

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/s2attn"
)

// unsaidWindow is transformers' W where config.json does not name the field; null means none there too.
const unsaidWindow = 4096

// windows reads which layers have a sliding window, and of how many tokens, by the family's rule.
func (f *fields) windows(c *Config) {
	types := f.layerTypes(c.L)
	given := f.raw["sliding_window"]
	switch c.Arch.Config.Windows {
	case model.AllWindows, model.NamedWindows:
		f.allWindows(c, types)
	case model.LateWindows:
		f.lateWindows(c, types)
	case model.EvenWindows:
		f.evenWindows(c, types)
	default:
		if given != nil && f.raw["use_sliding_window"] != false || slices.Contains(types, true) {
			name := "sliding_window"
			if given == nil {
				name = "layer_types"
			}
			c.Notes = append(c.Notes, fmt.Sprintf("%s: %s is ignored: a %s has no sliding window, in transformers neither",
				f.path, name, c.Arch.Class))
		}
	}
}

// allWindows reads a window that all layers have. layer_types wins, as in transformers, which takes a Mistral with it
// for a Ministral; others have no such field.
func (f *fields) allWindows(c *Config, types []bool) {
	given, said := f.raw["sliding_window"]
	named := c.Arch.Config.Windows == model.NamedWindows
	w := 0
	switch {
	case given != nil:
		w = f.count("sliding_window", -1)
	case !said && !named:
		w = unsaidWindow
		c.Notes = append(c.Notes, fmt.Sprintf("%s: sliding_window is missing: %d, as in transformers", f.path, w))
	case slices.Contains(types, true):
		f.fail("sliding_window", "null or missing, but layer_types has layers of sliding_attention; give their window in "+
			"tokens")
	}
	if use, ok := f.raw["use_sliding_window"].(bool); ok && !use && w > 0 { // transformers passes it over for a Mistral
		f.fail("use_sliding_window", "false contradicts sliding_window %d; write null there, or remove this field", w)
	}
	if named && w > 0 && slices.Contains(types, false) {
		f.fail("layer_types", "has layers without a window, but a %s has the one of sliding_window in all of them; remove "+
			"this field", c.Arch.Class)
	}
	if w > 0 && (types == nil || slices.Contains(types, true)) {
		c.window(w, func(l int) bool { return types == nil || types[l] })
	}
}

// evenWindows reads a window of layers 0, 2, 4 …, or of those that layer_types says.
func (f *fields) evenWindows(c *Config, types []bool) {
	if v, said := f.raw["sliding_window"]; said && v == nil {
		if types == nil || slices.Contains(types, true) {
			f.fail("sliding_window", "null, but layers have a window; give it in tokens, or say full_attention of all in "+
				"layer_types")
		}
		return
	}
	c.window(f.count("sliding_window", unsaidWindow), func(l int) bool {
		if types != nil {
			return types[l]
		}
		return l%2 == 0
	})
}

// lateWindows reads a window that layers have where use_sliding_window is true: those that layer_types says, else those
// without positions in a family that has such, else those from max_window_layers on.
func (f *fields) lateWindows(c *Config, types []bool) {
	use, from := f.flag("use_sliding_window"), f.num("max_window_layers", 28)
	given, said := f.raw["sliding_window"]
	w := 0
	switch {
	case use && given != nil:
		w = f.count("sliding_window", -1)
	case use && !said && c.NoRope == nil:
		w = unsaidWindow
	}
	if w == 0 {
		if slices.Contains(types, true) {
			f.fail("layer_types", "has layers of sliding_attention, but use_sliding_window and sliding_window give them no "+
				"window")
		}
		return
	}
	has := func(l int) bool {
		switch {
		case types != nil:
			return types[l]
		case c.NoRope != nil:
			return c.NoRope[l]
		}
		return float64(l) >= from
	}
	c.window(w, has)
}

// window gives layers a window of w tokens.
func (c *Config) window(w int, has func(l int) bool) {
	windows := make([]int, c.L)
	for l := range windows {
		if has(l) {
			windows[l], c.Windows = w, windows
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
		f.fail(name, "%s is not a list of %d layers, as num_hidden_layers says", errs.Shown(v), layers)
		return nil
	}
	out := make([]bool, layers)
	for l, v := range list {
		switch v {
		case "sliding_attention":
			out[l] = true
		case "full_attention":
		default:
			f.fail(name, "%s of layer %d is not one of sliding_attention, full_attention", errs.Shown(v), l)
		}
	}
	return out
}

// SetWindows writes into the object of a config.json what has been made of the sliding windows. Where none is left
// layer_types goes, or says so: transformers takes a Mistral with it for a model that has a window.
func (c *Config) SetWindows(raw map[string]any, choice s2attn.Choice) {
	full := make([]any, c.L)
	for l := range full {
		full[l] = "full_attention"
	}
	switch {
	case c.Windows == nil || choice == s2attn.Keep:
	case choice > 0:
		raw["sliding_window"] = json.Number(strconv.Itoa(int(choice)))
	case c.Arch.Config.Windows == model.LateWindows:
		raw["use_sliding_window"], raw["layer_types"] = false, full
	case c.Arch.Config.Windows == model.EvenWindows: // transformers wants a length there
		raw["layer_types"], raw["sliding_window"] = full, raw["max_position_embeddings"]
	default:
		raw["sliding_window"] = nil
		delete(raw, "layer_types")
	}
}
