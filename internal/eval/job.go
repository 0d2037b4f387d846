package eval

import (
	"longlora/internal/data"
	"longlora/internal/dist"
	"longlora/internal/plan"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
)

// Result is one task at one length.
type Result struct {
	Task     string   `json:"task"`
	Model    string   `json:"model"`
	Adapter  *string  `json:"adapter"`
	Protocol string   `json:"protocol,omitempty"`
	Ctx      int      `json:"ctx"`
	Stride   int      `json:"stride,omitempty"`
	Windows  int      `json:"windows,omitempty"`
	Loss     *float64 `json:"loss,omitempty"`
	PPL      *PPL     `json:"ppl,omitempty"` // null where it is infinite
	Note     string   `json:"note,omitempty"`

	Positions []Position `json:"positions,omitempty"`

	Trials   int      `json:"trials,omitempty"`
	Accuracy *float64 `json:"accuracy,omitempty"`
	Cells    []Cell   `json:"cells,omitempty"`
	Missed   []Miss   `json:"missed,omitempty"`
	Exact    *float64 `json:"exact,omitempty"`
	Answers  []Said   `json:"answers,omitempty"`

	*Ruler // of the task ruler

	Attn string `json:"attn"`
	Rope string `json:"rope"`

	Sliding *s2attn.Choice `json:"sliding_window,omitempty"` // of a model with sliding windows

	DType   string `json:"dtype"`
	Weights string `json:"weights,omitempty"` // how frozen linear weights were held, where otherwise than they are stored
}

// Report is what eval prints.
type Report struct {
	Results []Result `json:"results"`
	Data    []string `json:"data,omitempty"` // that perplexity was measured on
	Seed    uint64   `json:"seed"`           // of what is drawn
}

// Options are what is evaluated.
type Options struct {
	s2attn.Options
	Memory         plan.Memory
	StreamLayers   *int           // nil: the planner's choice
	Window         *s2attn.Choice // nil: as beside the adapter, or as the model has them
	Weights        string         // how frozen linear weights are held: "" or auto as beside the adapter
	Products       string         // how those in fp8 are multiplied: see load.CheckProducts
	Asked          Asked
	Documents      data.Options // how documents are read
	Models         []string
	Adapter        string
	Out            string // a folder that keeps results, "" for none
	Tasks          []string
	Data           []string
	Ctx            []int
	Stride, Limit  int    // of ppl
	Protocol       string // longlora or sliding
	Trials, Depths int
	Seed           uint64
	Words          string      // a file of the passkey task's words, "" for the paper's
	Haystack       string      // a file of text to hide needles in, "" for none
	Ranks          *dist.Group // the processes that evaluate together, nil for one alone
}

// Job is an evaluation with what a caller may decide beside the options.
type Job struct {
	Options
	Stream    *data.IDs       // read instead of --data
	Positions *rope.Positions // used instead of the checkpoint's
	SkipShort bool            // leave out, with a note, what is too short or too long for the data
}
