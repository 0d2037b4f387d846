package extend

import (
	"fmt"
	"path/filepath"
	"strings"

	"longlora/internal/proc"
	"longlora/internal/rundir"
	"longlora/internal/train"
)

// card writes the model card of what was extended, beside the folders merged and adapter: it is for either. One that
// someone else wrote stays.
func (e *extension) card() error {
	c := rundir.Card{Base: e.cfg.Model, Library: "transformers", Tags: []string{"long-context", "longlora"},
		Name: filepath.Base(filepath.Clean(e.cfg.Out)), Is: "The base, extended to a longer context with LongLoRA " +
			"(arXiv 2309.12307): an ordinary checkpoint in merged/, and the PEFT adapter that made it in adapter/.",
		Positions: e.rep.Positions, Results: lengths(e.rep.Lengths), Version: proc.Version()}
	words := []string{"longlora extend"}
	for _, s := range e.cfg.Given {
		if s.Given {
			words = append(words, fmt.Sprintf("%s %s", s.Option, written(s.Value)))
		}
	}
	c.Command = strings.Join(words, " ")
	if r := e.rep.Train; r != nil {
		c.Tokens, c.Seconds = r.Tokens, r.Seconds
		run, err := train.ReadRecord(filepath.Join(e.cfg.Out, rundir.AdapterDir))
		if err != nil {
			return err
		}
		c.Data, c.EvalData, c.Options = run.Data, run.EvalData, run.Options
	} else {
		c.Is = "The base with positions for a longer context, untrained, in merged/."
	}
	ours, err := rundir.WriteCard(e.cfg.Out, c)
	if err == nil && !ours {
		fmt.Fprintf(e.log, "note: %s is left as it is: it was not written here, or was changed since\n",
			filepath.Join(e.cfg.Out, rundir.CardFile))
	}
	return err
}

// written is an option's value in a command line.
func written(v any) string {
	if list, ok := v.([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(v)
}

// lengths is a table of what was measured, by length.
func lengths(all []Length) []string {
	var table []string
	for _, l := range all {
		row := []string{fmt.Sprint(l.Ctx)}
		for _, f := range []Figures{l.Base, l.Interpolated, l.Trained} {
			ppl, key := "", ""
			if f.PPL != nil {
				ppl = f.PPL.Digits(3)
			}
			if f.Accuracy != nil {
				key = fmt.Sprintf("%.0f %%", 100**f.Accuracy)
			}
			row = append(row, ppl, key)
		}
		table = append(table, "| "+strings.Join(row, " | ")+" |")
	}
	if table == nil {
		return nil
	}
	return append([]string{"| tokens | base, perplexity | passkeys | positions alone | passkeys | trained | passkeys |",
		"|---|---|---|---|---|---|---|"}, table...)
}
