package ops

// Link joins a rank to those beside it in a chain of ranks that divide a sequence among them, each holding a span of
// its tokens. What it carries goes beside the operations, on a GPU by streams of its own. What one rank gives the other
// takes, in the same order and of the same size; each direction is an order of its own.
type Link interface {
	// Place is this rank's number in the chain, from 0, and how many there are.
	Place() (rank, size int)
	// Give starts sending t to a neighbour, once all that was enqueued before is done. Later operations are not held up,
	// so they must not write t before Wait.
	Give(to Side, t Tensor) Passage
	// Take starts filling t with what a neighbour gives, once all that was enqueued before is done. Later operations must
	// neither read nor write t before Wait.
	Take(from Side, t Tensor) Passage
	// Wait holds operations that are enqueued later up until the passage is done, and all before it of its kind. When a
	// neighbour is gone it is over, with contents of no use; the chain's owner says why.
	Wait(p Passage)
}

// Side is a neighbour in a chain: the rank that holds the tokens before this one's, or those after them.
type Side uint8

// The sides.
const (
	Before Side = iota
	After
	Sides
)

// Passage is one of a Link's transfers. The zero Passage is of one that is done.
type Passage struct {
	N     int64 // counted from 1 among those to, or from, the side
	Side  Side
	Taken bool
}
