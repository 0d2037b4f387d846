package ui

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Parameters writes with which options a run was begun, as TensorBoard's table of parameters reads them: a number is
// one there, true and false are truth values, the rest is text. A run is called by its folder there.
func (e *Events) Parameters(at time.Time, options map[string]string) error {
	var start []byte
	for _, option := range slices.Sorted(maps.Keys(options)) {
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), option)
		entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), parameter(options[option]))
		start = protowire.AppendBytes(protowire.AppendTag(start, 1, protowire.BytesType), entry)
	}
	return e.session("_hparams_/session_start_info", 3, appendDouble(start, 5, seconds(at)))
}

// Done writes that the run ended well.
func (e *Events) Done(at time.Time) error {
	const success = 1
	end := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), success)
	return e.session("_hparams_/session_end_info", 4, appendDouble(end, 2, seconds(at)))
}

// session writes a message of the hparams plugin, which a summary's metadata carries. Fields of Value: 1 tag, 9
// metadata; of its plugin data: 1 the plugin's name, 2 the content; of that, HParamsPluginData: 3 SessionStartInfo (1 a
// map of google.protobuf.Value, 5 start_time_secs), 4 SessionEndInfo (1 status, 2 end_time_secs).
func (e *Events) session(tag string, field protowire.Number, message []byte) error {
	content := protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), message)
	plugin := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "hparams")
	plugin = protowire.AppendBytes(protowire.AppendTag(plugin, 2, protowire.BytesType), content)
	metadata := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), plugin)
	value := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), tag)
	value = protowire.AppendBytes(protowire.AppendTag(value, 9, protowire.BytesType), metadata)
	summary := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), value)
	return e.record(protowire.AppendBytes(protowire.AppendTag(event(time.Now(), 0), 5, protowire.BytesType), summary))
}

// parameter is a google.protobuf.Value: 2 number, 3 text, 4 truth value.
func parameter(text string) []byte {
	if x, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(x) && !math.IsInf(x, 0) {
		return appendDouble(nil, 2, x)
	}
	if text == "true" || text == "false" {
		b := protowire.AppendTag(nil, 4, protowire.VarintType)
		return protowire.AppendVarint(b, protowire.EncodeBool(text == "true"))
	}
	return protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), text)
}

func appendDouble(b []byte, field protowire.Number, x float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), math.Float64bits(x))
}

func seconds(at time.Time) float64 { return float64(at.UnixNano()) / 1e9 }
