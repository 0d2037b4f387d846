package store

// Span is a stretch [Lo, Hi) of tokens.
type Span struct{ Lo, Hi int }

// Document is what a store keeps of an encoded document besides its tokens.
type Document struct {
	N       int    // tokens
	More    bool   // the document goes on in the next one
	Undo    bool   // not a document: what went before of one that is not whole is to be taken back
	Answers []Span // tokens that are scored; of examples
	Trim    Span   // the tokens of the prompt's longest text; of examples
	File    int    // where it came from: the number of its file,
	Line    int    // and its line or row there
}
