package tokenizer

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
)

// trie finds the pieces that a text begins with. Nodes lie in the order of their distance from the root, so that the
// children of each are neighbours.
type trie struct {
	first []int32 // of a node's children; those of node n end where node n+1's begin
	label []byte  // the byte that leads to a node
	id    []int32 // of the piece that ends there; -1: none
}

// maxTrie bounds the bytes of all pieces, each of which may be a node. A vocabulary of 256,000 has some 2 MB.
const maxTrie = 1 << 24

// newTrie holds the pieces of a vocabulary; an empty one is none.
func newTrie(ids map[string]int32) (*trie, error) {
	pieces, all := make([]string, 0, len(ids)), 0
	for s := range ids {
		if all += len(s); s != "" {
			pieces = append(pieces, s)
		}
	}
	if all > maxTrie {
		return nil, fmt.Errorf("the pieces have %d bytes together; at most %d are looked for", all, maxTrie)
	}
	slices.Sort(pieces)
	type span struct{ lo, hi, depth int } // of pieces: those that begin with what leads to a node
	t := &trie{label: []byte{0}}
	for nodes := []span{{0, len(pieces), 0}}; len(t.id) < len(nodes); {
		n := nodes[len(t.id)]
		t.first = append(t.first, int32(len(nodes)))
		id := int32(-1)
		if n.lo < n.hi && len(pieces[n.lo]) == n.depth {
			id = ids[pieces[n.lo]]
			n.lo++
		}
		t.id = append(t.id, id)
		for n.lo < n.hi {
			b := pieces[n.lo][n.depth]
			hi := n.lo + sort.Search(n.hi-n.lo, func(i int) bool { return pieces[n.lo+i][n.depth] > b })
			nodes, t.label = append(nodes, span{n.lo, hi, n.depth + 1}), append(t.label, b)
			n.lo = hi
		}
	}
	t.first = append(t.first, int32(len(t.id)))
	return t, nil
}

// next is the node behind a byte; -1 where no piece goes on so. The root is 0.
func (t *trie) next(node int32, b byte) int32 {
	lo, hi := t.first[node], t.first[node+1]
	if i := bytes.IndexByte(t.label[lo:hi], b); i >= 0 {
		return lo + int32(i)
	}
	return -1
}
