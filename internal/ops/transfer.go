package ops

// Transfer moves data.
type Transfer interface {
	// Upload copies host bytes into dst; src may be reused when it returns.
	Upload(dst Tensor, src []byte)
	// Download waits for everything enqueued and copies src into dst.
	Download(dst []byte, src Tensor) error
	// Zero clears dst.
	Zero(dst Tensor)
	// Convert writes src's values into dst, which has as many elements and any float type, and may lie in Host memory.
	Convert(dst, src Tensor)
	// CopyRows copies a strided block of equal element types: rows r in [0, Rows), of Cols elements each,
	// from element SrcOff + r·SrcStride of src to element DstOff + r·DstStride of dst.
	CopyRows(dst, src Tensor, c Block)
	// AddRows adds a block of src to that of dst, both float32 and as CopyRows would copy it.
	AddRows(dst, src Tensor, c Block)
	Carrier
}

// Carrier copies blocks between device and host memory beside the operations: on a GPU by streams of their own.
type Carrier interface {
	// Send starts copying a block of src, in device memory, to dst, in host memory, once all that was enqueued before
	// is done. Later operations are not held up, so they must not write the block of src before Wait.
	Send(dst, src Tensor, c Block) Ticket
	// Fetch starts copying a block of src, in host memory, to dst, in device memory, once all that was enqueued before
	// is done, sends too. Later operations must neither read nor write the block of dst before Wait.
	Fetch(dst, src Tensor, c Block) Ticket
	// Bring is Fetch of a block of src that no send under way writes, as of weights that wait in host memory: it comes
	// after the operations enqueued before, and waits for no send but those that they have waited for.
	Bring(dst, src Tensor, c Block) Ticket
	// Share is Bring of a block of src, in memory that another process exported: see Sharer.
	Share(dst, src Tensor, c Block) Ticket
	// Wait holds operations that are enqueued later up until the copy is done. Copies of one direction are done in
	// their order, of fetches and of what is brought each, so all before it are done too.
	Wait(t Ticket)
}

// Ticket is one of a Carrier's copies. The zero Ticket is of a copy that is done.
type Ticket struct {
	N   int64 // counted from 1 among the copies of its way
	Way Way
}

// Way is how a Carrier's copy goes.
type Way uint8

// The ways that copies go.
const (
	Sent Way = iota
	Fetched
	Brought
	Ways
)

// Block is a strided block of elements for CopyRows and AddRows.
type Block struct {
	DstOff, DstStride, SrcOff, SrcStride, Rows, Cols int
}

// Whole is the block of all elements of a tensor of one shape at both ends.
func Whole(t Tensor) Block {
	n := t.Elems()
	return Block{DstStride: n, SrcStride: n, Rows: 1, Cols: n}
}
