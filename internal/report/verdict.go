package report

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"longlora/internal/eval"
	"longlora/internal/extend"
	"longlora/internal/ui"
)

// Verdict is what a page says first: whether it worked.
type Verdict struct {
	Kind string // good, part, bad, open (not finished) or plain (nothing to judge)
	Head string
	Text string // one sentence against the base
}

// Sign is the verdict's sign, which does not depend on colour.
func (v Verdict) Sign() string {
	return map[string]string{"good": "✓", "part": "◐", "bad": "✗", "open": "…", "plain": "•"}[v.Kind]
}

// Big is a large figure.
type Big struct {
	Label, Value string
	Name         string // whose it is, where others stand beside it
	Also         []Also
	Mark         Key // of its curves, where the label is their name
}

// Also is a figure to compare with.
type Also struct {
	Name, Value string
	Mark        Key
}

// compared says in words how a perplexity stands to another one.
func compared(is, was float64) string {
	switch ratio := is / was; {
	case ratio < 1/(1+extend.SamePPL):
		return "better than"
	case ratio <= 1+extend.SamePPL:
		return "as good as"
	case ratio <= extend.NearPPL:
		return "nearly as good as"
	}
	return "worse than"
}

// verdict judges an extension.
func verdict(r *extend.Report) Verdict {
	v := Verdict{Kind: "plain", Head: "Not judged"}
	if r.Within() {
		v.Head = fmt.Sprintf("Nothing to extend: the base reads %s tokens by itself", thousands(int64(r.Ctx)))
		words, lost := r.Kept()
		if v.Text = against(r); lost {
			v.Kind, v.Text = "part", v.Text+" "+words
		}
		return v
	}
	reaches := r.Reaches()
	var at []string
	whole, some := len(reaches) > 0, false
	for _, x := range reaches {
		whole = whole && x.To == r.Ctx
		if some = some || x.To > 0; x.To > 0 {
			at = append(at, fmt.Sprintf("to %s tokens by %s", thousands(int64(x.To)), x.Measure))
		}
	}
	switch {
	case whole:
		v.Kind, v.Head = "good", fmt.Sprintf("Extended to %s tokens", thousands(int64(r.Ctx)))
	case some:
		v.Kind, v.Head = "part", "Extended in part: "+strings.Join(at, ", ")
	case len(reaches) > 0:
		v.Kind, v.Head = "bad", fmt.Sprintf("Not extended to %s tokens", thousands(int64(r.Ctx)))
	}
	if r.Train == nil && v.Kind != "plain" {
		v.Head += ", by new positions alone"
	}
	v.Text = against(r)
	if words, lost := r.Kept(); lost { // which may be why, however well the new length is read
		v.Text += " " + words
	}
	return v
}

// against compares the longest length that was judged with the base there, and with the base at its own length.
func against(r *extend.Report) string {
	last := slices.IndexFunc(r.Lengths, func(l extend.Length) bool { return l.Ctx == r.Ctx })
	if last < 0 || r.Lengths[last].Trained.PPL == nil {
		return "No perplexity was measured at the new length."
	}
	l, first := r.Lengths[last], r.Lengths[0]
	is := float64(*l.Trained.PPL)
	s := fmt.Sprintf("At %s tokens the model's perplexity is %s", thousands(int64(l.Ctx)), showPPL(is))
	var parts []string
	if l.Base.PPL != nil {
		parts = append(parts, fmt.Sprintf("%s the base there (%s)", compared(is, float64(*l.Base.PPL)),
			showPPL(float64(*l.Base.PPL))))
	}
	if first.Base.PPL != nil && last > 0 {
		own := float64(*first.Base.PPL)
		more := ""
		if ratio := is / own; ratio > 1+extend.SamePPL && ratio < 2 {
			more = fmt.Sprintf("; this is %.1f %% higher", 100*(ratio-1))
		}
		parts = append(parts, fmt.Sprintf("%s the base at its own %s (%s%s)", compared(is, own), thousands(int64(first.Ctx)),
			showPPL(own), more))
	}
	if len(parts) > 0 {
		s += ", " + strings.Join(parts, " and ")
	}
	return s + "."
}

// bigs are an extension's large figures.
func bigs(r *extend.Report, js []*judged) (out []Big) {
	goal := func(label string, of func(*judged) []atLength, n int, show func(float64) string) {
		b := Big{Label: label, Value: "–", Name: js[2].name}
		if v, ok := find(of(js[2]), n); ok {
			b.Value = show(v)
		}
		for _, j := range js[:2] {
			if v, ok := find(of(j), n); ok {
				b.Also = append(b.Also, Also{Name: j.name, Value: show(v),
					Mark: Key{j.style, key(series{Style: j.style}, true), ""}})
			}
		}
		out = append(out, b)
	}
	tokens := func(n int) string { return thousands(int64(n)) + " tokens" }
	goal("Perplexity at "+tokens(r.Ctx), perplexity, r.Ctx, showPPL)
	recall := func(j *judged) []atLength { return j.recall["passkey"] }
	goal("Passkeys found at "+tokens(r.Ctx), recall, r.Ctx, percent)
	if own := r.Lengths[0].Ctx; own != r.Ctx {
		goal("Perplexity at the base's own "+tokens(own), perplexity, own, showPPL)
	}
	if t := r.Train; t != nil {
		out = append(out, Big{Label: "Training", Value: ui.Several(thousands(int64(t.Steps)), "step"), Also: []Also{
			{Name: "time", Value: ui.Duration(t.Seconds)}, {Name: "tokens", Value: thousands(t.Tokens)}}})
	}
	return out
}

// judgedOn says on what and how an extension was judged.
func judgedOn(r *extend.Report, on time.Time) (out []string) {
	option := func(name string) string {
		switch x := r.Options[name].(type) {
		case nil:
			return ""
		case []any:
			var parts []string
			for _, p := range x {
				parts = append(parts, filepath.Base(fmt.Sprint(p)))
			}
			return strings.Join(parts, ", ")
		default:
			return fmt.Sprint(x)
		}
	}
	text := option("eval-data")
	if text == "" && option("data") != "" {
		text = "the held-out end of " + option("data") + ", never trained on"
	}
	if text != "" && r.Protocol != "" {
		out = append(out, fmt.Sprintf("Perplexity on %s: %s a length, %s protocol, stride %d, full attention.",
			text, ui.Several(option("eval-limit"), "window"), r.Protocol, r.Stride))
	}
	if trials := option("trials"); trials != "" && option("depths") != "" {
		words := ""
		if f := option("passkey-template"); f != "" {
			words = ", in the words of " + filepath.Base(f)
		}
		out = append(out, fmt.Sprintf("Passkeys: %s × %s a length%s.", ui.Several(option("depths"), "depth"),
			ui.Several(trials, "trial"), words))
	}
	if r.Train != nil {
		out = append(out, "Interpolated is the base with the new positions, not trained.")
	}
	end := day(on)
	if seed := option("seed"); seed != "" {
		end = "Seed " + seed + "; " + end
	}
	return append(out, end+".")
}

// judgedBy says on what and how models were judged.
func judgedBy(r eval.Report, on time.Time) (out []string) {
	var windows []string
	for _, x := range r.Results {
		if w := fmt.Sprintf("%s protocol, stride %d, %s attention", x.Protocol, x.Stride, x.Attn); x.Windows > 0 &&
			!slices.Contains(windows, w) {
			windows = append(windows, w)
		}
	}
	if len(windows) > 0 {
		s := "Perplexity: " + strings.Join(windows, "; ")
		if len(r.Data) > 0 {
			var names []string
			for _, d := range r.Data {
				names = append(names, filepath.Base(d))
			}
			s = "Perplexity on " + strings.Join(names, ", ") + ": " + strings.Join(windows, "; ")
		}
		out = append(out, s+".")
	}
	return append(out, fmt.Sprintf("Seed %d; %s.", r.Seed, day(on)))
}

// day is a time for people.
func day(at time.Time) string { return at.Format("2 January 2006, 15:04") }

// lastWritten is when a file was last written, now where that is not known.
func lastWritten(path string) time.Time {
	if st, err := os.Stat(path); err == nil {
		return st.ModTime()
	}
	return time.Now()
}

// standing judges models side by side by their perplexity at the longest length that all have, or by recall.
func standing(js []*judged) Verdict {
	v := Verdict{Kind: "plain"}
	if len(js) == 1 {
		return alone(js[0])
	}
	best, n := bestOf(js, perplexity, func(a, b float64) bool { return a < b })
	what, show := "lowest perplexity", showPPL
	of := perplexity
	if best == nil {
		for _, task := range tasks(js) {
			of = func(j *judged) []atLength { return j.recall[task] }
			if best, n = bestOf(js, of, func(a, b float64) bool { return a > b }); best != nil {
				what, show = "largest share found in the "+task+" task", percent
				break
			}
		}
	}
	if best == nil {
		v.Head = "Nothing that all models have"
		return v
	}
	top, _ := find(of(best), n)
	var parts, first []string
	for _, j := range js {
		x, _ := find(of(j), n)
		parts = append(parts, fmt.Sprintf("%s %s", j.name, show(x)))
		if show(x) == show(top) {
			first = append(first, j.name)
		}
	}
	has := " has"
	switch {
	case len(first) == len(js):
		first, has = []string{"All"}, " have"
		what = "same " + what[strings.Index(what, " ")+1:]
	case len(first) > 1:
		has = " have"
	}
	v.Head = fmt.Sprintf("%s%s the %s at %s tokens", strings.Join(first, " and "), has, what, thousands(int64(n)))
	v.Text = strings.Join(parts, ", ") + "."
	return v
}

// alone says of one model what it scores, and then which it is.
func alone(j *judged) Verdict {
	said := j.name
	for _, task := range tasks([]*judged{j}) {
		end := j.recall[task][len(j.recall[task])-1]
		said += fmt.Sprintf(", which finds %s in the %s task at %s tokens", percent(end.v), task, thousands(int64(end.ctx)))
	}
	head := strings.TrimSpace(strings.TrimPrefix(sayPerplexity(j), j.subject))
	if head == "" {
		return Verdict{Kind: "plain", Head: said}
	}
	return Verdict{Kind: "plain", Head: strings.ToUpper(head[:1]) + strings.TrimSuffix(head[1:], "."), Text: said + "."}
}

// bestOf is the best at the longest length that all have.
func bestOf(js []*judged, of func(*judged) []atLength, better func(a, b float64) bool) (best *judged, n int) {
	at := lengths(js, of)
	for _, n := range slices.Backward(at) {
		best, value := (*judged)(nil), 0.0
		all := true
		for _, j := range js {
			v, ok := find(of(j), n)
			if all = all && ok; ok && (best == nil || better(v, value)) {
				best, value = j, v
			}
		}
		if all {
			return best, n
		}
	}
	return nil, 0
}

// bigsOf are the large figures of models side by side: each one's at its longest length.
func bigsOf(js []*judged) (out []Big) {
	const most = 4
	for _, j := range js {
		if len(out) == most {
			break
		}
		b := Big{}
		if n := len(j.ppl); n > 0 {
			first, end := j.ppl[0], j.ppl[n-1]
			b.Label, b.Value = fmt.Sprintf("Perplexity at %s tokens", thousands(int64(end.ctx))), showPPL(end.v)
			if n > 1 {
				b.Also = append(b.Also, Also{Name: "at " + thousands(int64(first.ctx)), Value: showPPL(first.v)})
			}
		}
		for _, task := range tasks([]*judged{j}) {
			l := j.recall[task]
			end := l[len(l)-1]
			if b.Label == "" {
				b.Label, b.Value = fmt.Sprintf("%s found at %s tokens", task, thousands(int64(end.ctx))), percent(end.v)
				continue
			}
			b.Also = append(b.Also, Also{Name: task + " at " + thousands(int64(end.ctx)), Value: percent(end.v)})
		}
		if len(js) > 1 {
			b.Label = shortened(j.name, 40) + ": " + b.Label
		}
		out = append(out, b)
	}
	return out
}
