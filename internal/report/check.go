package report

import (
	"fmt"
	"math"
	"slices"

	"longlora/internal/errs"
	"longlora/internal/eval"
	"longlora/internal/extend"
)

// check looks for figures in a file that no evaluation gives; the first is the error.
type check struct {
	path string
	err  error
}

func (c *check) want(ok bool, field string, value any, what string) {
	if !ok && c.err == nil {
		c.err = errs.Dataf("%s: %s: %v is not %s", c.path, field, value, what)
	}
}

// figure checks a number that may be left out.
func (c *check) figure(v *float64, field string, least, most float64, what string) {
	if v != nil {
		c.want(*v >= least && *v <= most, field, *v, what)
	}
}

func (c *check) recall(v *float64, cells []eval.Cell, at, field string) {
	c.figure(v, at+"."+field, 0, 1, "a share from 0 to 1")
	for i, x := range cells {
		at := fmt.Sprintf("%s.cells[%d]", at, i)
		c.want(x.Depth >= 0 && x.Depth <= 1, at+".depth", x.Depth, "a share from 0 to 1")
		c.want(x.Trials >= 0, at+".trials", x.Trials, "a number of prompts")
		c.want(x.Correct >= 0 && x.Correct <= x.Trials, at+".correct", x.Correct, fmt.Sprintf("a part of its %d trials",
			x.Trials))
	}
}

func (c *check) ruler(r *eval.Ruler, at string) {
	if r == nil {
		return
	}
	const share = "a share from 0 to 1"
	c.figure(&r.Score, at+".score", 0, 1, share)
	c.figure(&r.StdErr, at+".stderr", 0, 1, share)
	for i, s := range r.Subtasks {
		at := fmt.Sprintf("%s.subtasks[%d]", at, i)
		c.want(s.Trials >= 1 && s.Trials <= 1<<30, at+".trials", s.Trials, "a number of prompts")
		c.figure(&s.Score, at+".score", 0, 1, share)
	}
}

// A loss is not negative and a perplexity not below 1, but for rounding.
const (
	leastLoss = -0.01
	leastPPL  = 0.99
)

// checkResults checks what eval wrote.
func checkResults(path string, rs []eval.Result) error {
	c := check{path: path}
	for i, r := range rs {
		at := fmt.Sprintf("results[%d]", i)
		c.want(slices.Contains([]string{"ppl", "passkey", "topics", "ruler"}, r.Task), at+".task", r.Task,
			"ppl, passkey, topics or ruler")
		c.want(r.Ctx >= 1, at+".ctx", r.Ctx, "a length in tokens")
		c.want(r.Windows >= 0, at+".windows", r.Windows, "a number of windows")
		c.want(r.Trials >= 0, at+".trials", r.Trials, "a number of prompts")
		c.figure(r.Loss, at+".loss", leastLoss, math.MaxFloat64, "a loss, which is never negative")
		c.figure((*float64)(r.PPL), at+".ppl", leastPPL, math.Inf(1), "a perplexity, which is never below 1")
		c.recall(r.Accuracy, r.Cells, at, "accuracy")
		c.ruler(r.Ruler, at)
	}
	return c.err
}

// checkExtend checks what extend wrote.
func checkExtend(path string, r *extend.Report) error {
	c := check{path: path}
	c.want(r.Ctx >= 1, "ctx", r.Ctx, "a length in tokens")
	c.want(len(r.Lengths) > 0, "lengths", r.Lengths, "a list of what was measured")
	for i, l := range r.Lengths {
		at := fmt.Sprintf("lengths[%d]", i)
		c.want(l.Ctx >= 1, at+".ctx", l.Ctx, "a length in tokens")
		for k, f := range []eval.Figures{l.Base, l.Interpolated, l.Trained} {
			at := at + "." + []string{"base", "interpolated", "trained"}[k]
			c.figure((*float64)(f.PPL), at+".ppl", leastPPL, math.Inf(1), "a perplexity, which is never below 1")
			c.figure(f.Loss, at+".loss", leastLoss, math.MaxFloat64, "a loss, which is never negative")
			c.recall(f.Accuracy, f.Cells, at, "passkey")
			c.ruler(f.Ruler, at+".ruler")
		}
	}
	return c.err
}
