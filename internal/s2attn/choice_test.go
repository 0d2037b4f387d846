package s2attn

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestChoice(t *testing.T) {
	for _, c := range []struct {
		text     string
		choice   Choice
		from, to []int
	}{
		{`"keep"`, Keep, []int{0, 8}, []int{0, 8}},
		{`"keep"`, Keep, nil, nil},
		{`"off"`, Off, []int{0, 8}, nil},
		{`1`, 1, []int{9, 0, 8}, []int{1, 0, 1}},
		{`4096`, 4096, nil, nil},
		{`4096`, 4096, []int{0, 0}, nil},
	} {
		var got Choice
		if err := json.Unmarshal([]byte(c.text), &got); err != nil || got != c.choice {
			t.Errorf("%s: %v (%v)", c.text, got, err)
		}
		if b, err := json.Marshal(c.choice); err != nil || string(b) != c.text {
			t.Errorf("%v: %s (%v)", c.choice, b, err)
		}
		before := slices.Clone(c.from)
		if got := c.choice.Apply(c.from); !slices.Equal(got, c.to) || (got == nil) != (c.to == nil) || !slices.Equal(c.from, before) {
			t.Errorf("%v of %v: %v, want %v", c.choice, before, got, c.to)
		}
	}
	for _, bad := range []string{`"on"`, `0`, `-1`, `1.5`, `1e3`, `"16"`, `true`, `[]`, `{}`, `""`, `2147483649`, `99999999999999999999`} {
		var c Choice
		if err := json.Unmarshal([]byte(bad), &c); err == nil {
			t.Errorf("%s was read as %v", bad, c)
		}
	}
}
