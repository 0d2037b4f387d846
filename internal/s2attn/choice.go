package s2attn

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Choice is what is made of a model's sliding windows: Keep, Off, or a number of tokens W from 1 on that takes the
// place of theirs.
type Choice int

const (
	// Keep leaves windows as the model has them.
	Keep Choice = 0
	// Off makes full layers of those that have a window.
	Off Choice = -1
)

// MostWindow is the longest window that can be chosen, in tokens.
const MostWindow = 1 << 31

func (c Choice) String() string {
	switch c {
	case Keep:
		return "keep"
	case Off:
		return "off"
	}
	return strconv.Itoa(int(c))
}

// Apply gives a model's windows by layer, in tokens and 0 where a layer has none, as the choice has them; nil where no
// layer has one. The argument stays as it is.
func (c Choice) Apply(windows []int) []int {
	switch c {
	case Keep:
		return windows
	case Off:
		return nil
	}
	var out []int
	for l, w := range windows {
		if w > 0 {
			if out == nil {
				out = make([]int, len(windows))
			}
			out[l] = int(c)
		}
	}
	return out
}

// MarshalJSON writes "keep", "off" or the number.
func (c Choice) MarshalJSON() ([]byte, error) {
	if c > 0 {
		return strconv.AppendInt(nil, int64(c), 10), nil
	}
	return json.Marshal(c.String())
}

// UnmarshalJSON reads what MarshalJSON writes.
func (c *Choice) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"keep"`:
		*c = Keep
		return nil
	case `"off"`:
		*c = Off
		return nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 1 || n > MostWindow {
		return fmt.Errorf(`sliding_window: %.40s is not "keep", "off" or a number of tokens from 1 to 2^31`, b)
	}
	*c = Choice(n)
	return nil
}
