package train

import (
	"fmt"
	"math"
	"path/filepath"

	"longlora/internal/errs"
	"longlora/internal/rundir"
)

// card writes the model card beside what was trained. One that someone else wrote stays.
func (r *run) card() error {
	c := rundir.Card{Base: r.c.Model, Library: "peft", Tags: []string{"lora", "long-context", "longlora"},
		Name:      filepath.Base(filepath.Clean(r.c.Out)),
		Is:        "A LoRA adapter in PEFT's format, trained with LongLoRA's S²-Attn (arXiv 2309.12307).",
		Positions: r.rec.Positions, Options: r.rec.Options,
		Command: fmt.Sprintf("longlora train %s %s", errs.Option("config"), rundir.ConfigFile),
		Data:    r.rec.Data, EvalData: r.rec.EvalData, Seconds: r.rec.Result.Seconds, Tokens: r.rec.Result.Tokens,
		Version: r.rec.Version}
	if r.rec.Options["tune"] == "full" {
		c.Library, c.Tags = "transformers", []string{"long-context", "longlora"}
		c.Is = "A Hugging Face checkpoint, all of whose weights were trained with LongLoRA's S²-Attn (arXiv 2309.12307)."
	}
	lines, _, err := rundir.ReadMetrics(filepath.Join(r.c.Out, rundir.MetricsFile))
	if err != nil {
		return err
	}
	c.Results = validations(lines)
	written, err := rundir.WriteCard(r.c.Out, c)
	if err == nil && !written {
		fmt.Fprintf(r.log, "note: %s is left as it is: it was not written here, or was changed since\n",
			filepath.Join(r.c.Out, rundir.CardFile))
	}
	return err
}

// validations is a table of the first validation, the best and the last; nil without any.
func validations(lines []rundir.Metrics) []string {
	var rows []rundir.Metrics
	best := -1
	for _, m := range lines {
		if !m.Any() {
			continue
		}
		if rows = append(rows, m); best < 0 || m.Counts() < rows[best].Counts() {
			best = len(rows) - 1
		}
	}
	if len(rows) == 0 {
		return nil
	}
	table := []string{"| step | validation loss | perplexity |", "|---|---|---|"}
	shown := map[int]bool{}
	for _, i := range []int{0, best, len(rows) - 1} {
		if m := rows[i]; !shown[i] {
			shown[i] = true
			table = append(table, fmt.Sprintf("| %d | %.4f | %.3f |", m.Step, m.Counts(), math.Exp(m.Counts())))
		}
	}
	return table
}
