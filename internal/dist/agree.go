package dist

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
)

// Numbers gives every rank the numbers of each, by rank; all give as many.
func (g *Group) Numbers(own ...float64) ([][]float64, error) {
	var b []byte
	for _, x := range own {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	}
	all, err := g.Gather(b)
	if err != nil {
		return nil, err
	}
	out := make([][]float64, len(all))
	for i, b := range all {
		if len(b) != 8*len(own) {
			return nil, fmt.Errorf("rank %d gives %d bytes, rank %d gives %d numbers", i, len(b), g.Rank(), len(own))
		}
		for ; len(b) > 0; b = b[8:] {
			out[i] = append(out[i], math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
	}
	return out, nil
}

// FromFirst gives every rank rank 0's v, as JSON carries it.
func FromFirst[T any](g *Group, v *T) error {
	var b []byte
	var err error
	if g.Rank() == 0 {
		if b, err = json.Marshal(v); err != nil {
			return err
		}
	}
	all, err := g.Gather(b)
	if err != nil || g.Rank() == 0 {
		return err
	}
	var first T // what is not said is not as it was
	if err = json.Unmarshal(all[0], &first); err == nil {
		*v = first
	}
	return err
}
