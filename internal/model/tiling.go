package model

import "fmt"

// Keep is what a layer keeps of a tile between its forward and its backward pass.
type Keep uint8

const (
	// KeepAll keeps every activation.
	KeepAll Keep = iota
	// KeepAttn keeps all but gate and up, which are made again.
	KeepAttn
	// KeepOut keeps a layer's input and what attention gives; only attention is not run again.
	KeepOut
	// KeepInput keeps a layer's input alone; the layer is run again.
	KeepInput
)

var keepNames = [...]string{"all", "attn", "out", "input"}

func (k Keep) String() string { return keepNames[k] }

// MarshalText and UnmarshalText give Keep its name in saved plans.
func (k Keep) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a name.
func (k *Keep) UnmarshalText(b []byte) error {
	for i, n := range keepNames {
		if n == string(b) {
			*k = Keep(i)
			return nil
		}
	}
	return fmt.Errorf("unknown policy %q; known are %v", b, keepNames)
}

// Tiling says how a step is carried out. It changes memory, time and the last bits, never the result.
type Tiling struct {
	Tile int  `json:"tile"` // T, tokens
	Keep Keep `json:"keep"` // what each layer keeps
	// so many layers keep the next larger part: all for attn, attn for out, out for input
	More   int `json:"more,omitempty"`
	Moved  int `json:"moved,omitempty"`  // so many layers' kept part waits in host memory
	Stream int `json:"stream,omitempty"` // so many layers' frozen matrices wait in host memory
	// so many layers' frozen matrices are divided among the processes of the machine; then none are streamed
	Shard int `json:"shard,omitempty"`
	// values and moments of matrices that are trained whole wait in host memory, and all else of an embedding that is
	// not the head
	HostState bool `json:"host_state,omitempty"`
	MLPRows   int  `json:"mlp_rows"`  // rows of the MLP at a time
	HeadRows  int  `json:"head_rows"` // rows of logits at a time
}

// KeepOf is what layer l of L keeps. The last layer's backward pass follows its forward pass, so it keeps all but what
// is made in pieces. Layers with memory of their own are the first to keep more: what is moved should be little.
func (tl Tiling) KeepOf(l, L int) Keep {
	switch {
	case l == L-1 && (tl.Keep == KeepAll || tl.MLPRows >= tl.Tile):
		return KeepAll
	case l == L-1:
		return KeepAttn
	}
	before := tl.turnsBefore(l, L)
	rank := l - before
	if tl.inTurn(l, L) {
		rank = L - 1 - tl.turns() + before
	}
	if rank < tl.More && tl.Keep > KeepAll {
		return tl.Keep - 1
	}
	return tl.Keep
}

// turns is how many layers take turns in the slots: see mover.
func (tl Tiling) turns() int {
	if tl.Moved == 0 {
		return 0
	}
	return tl.Moved + slots
}

// turnsBefore is how many of them come before layer l of L. They are spread evenly, so that copies have time; the last
// layer is none of them.
func (tl Tiling) turnsBefore(l, L int) int { return l * tl.turns() / max(L-1, 1) }

func (tl Tiling) inTurn(l, L int) bool {
	return l < L-1 && tl.turnsBefore(l+1, L) > tl.turnsBefore(l, L)
}

// MostMoved is the most layers of L whose kept part can be moved.
func MostMoved(L int) int { return max(0, L-1-slots) }

// Kept says it in words: "attn", or "all in 5 layers, attn in the others, 12 layers moved to host memory".
func (tl Tiling) Kept() string {
	s := tl.Keep.String()
	if tl.More > 0 && tl.Keep > KeepAll {
		s = fmt.Sprintf("%s in %s, %s in the others", tl.Keep-1, layers(tl.More), tl.Keep)
	}
	if tl.Moved > 0 {
		s += fmt.Sprintf(", %s moved to host memory", layers(tl.Moved))
	}
	if tl.Stream > 0 {
		s += fmt.Sprintf(", the weights of %s streamed", layers(tl.Stream))
	}
	if tl.Shard > 0 {
		s += fmt.Sprintf(", the weights of %s sharded", layers(tl.Shard))
	}
	if tl.HostState {
		s += ", trained matrices' state in host memory"
	}
	return s
}

func layers(n int) string {
	if n == 1 {
		return "1 layer"
	}
	return fmt.Sprintf("%d layers", n)
}
