package report

import (
	"fmt"
	"maps"
	"slices"

	"longlora/internal/eval"
)

// rulerLike names the RULER-like tasks where a recall task is named.
const rulerLike = "RULER-like"

func (j *judged) addRuler(ctx int, r *eval.Ruler) {
	if j.ruler == nil {
		j.ruler = map[int]*eval.Ruler{}
	}
	j.ruler[ctx] = r
	j.addRecall(rulerLike, ctx, r.Score, nil)
}

// bySubtask is a table of the RULER-like tasks of a model: a row a subtask, a column a length.
func bySubtask(j *judged) []Table {
	at := slices.Sorted(maps.Keys(j.ruler))
	if len(at) == 0 {
		return nil
	}
	t := Table{Title: fmt.Sprintf("RULER-like tasks, %s (own prompts; not comparable with RULER's published figures)",
		j.name), Head: []string{"share found"}}
	row := func(name string, of func(*eval.Ruler) (float64, bool)) {
		cells := []string{name}
		for _, n := range at {
			text := "–"
			if v, ok := of(j.ruler[n]); ok {
				text = fmt.Sprintf("%.1f %%", 100*v)
			}
			cells = append(cells, text)
		}
		t.Rows = append(t.Rows, cells)
	}
	var names []string
	for _, n := range at {
		t.Head = append(t.Head, thousands(int64(n)))
		for _, s := range j.ruler[n].Subtasks {
			if !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	for _, name := range names {
		row(name, func(r *eval.Ruler) (float64, bool) {
			i := slices.IndexFunc(r.Subtasks, func(s eval.Subtask) bool { return s.Name == name })
			if i < 0 {
				return 0, false
			}
			return r.Subtasks[i].Score, true
		})
	}
	row("mean", func(r *eval.Ruler) (float64, bool) { return r.Score, true })
	row("standard error", func(r *eval.Ruler) (float64, bool) { return r.StdErr, true })
	return []Table{t}
}
