package cli

import (
	"fmt"
	"slices"
	"strings"
)

// meant is the option that other trainers (transformers, PEFT, axolotl, LLaMA-Factory, LongLoRA's scripts) know by
// another name, of which the letters alone would not lead there; "" for none.
func meant(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	for _, o := range table {
		if slices.Contains(strings.Fields(o.Also), name) {
			return o.Name
		}
	}
	return ""
}

// suggest completes a message on a name that is no option: with the option that the name means elsewhere, or the
// nearest one.
func suggest(name string, known []string) string { return question("", likely(name, known)) }

// nearest completes a message on a name with the closest of those that are known.
func nearest(name string, known []string) string { return question("", closest(name, known)) }

// question asks whether a name was meant, as a message ends; "" for none.
func question(before, name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s%s?", before, name)
}

// likely is the option that a name means elsewhere, or the closest one.
func likely(name string, known []string) string {
	if ours := meant(name); slices.Contains(known, ours) {
		return ours
	}
	return closest(name, known)
}

// closest is the known name closest to a mistyped one, "" where none is close.
func closest(name string, known []string) string {
	best, least := "", 1+len(name)/2
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of insertions, deletions and replacements that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diag
			if a[i] != b[j] {
				d++
			}
			diag = row[j+1]
			row[j+1] = min(d, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Suggest completes an unknown flag's error with the real one that may be meant: of the command, or of those that have
// one of that name.
func Suggest(command, name string) string {
	name, _, _ = strings.Cut(strings.ToLower(name), "=")
	if on, no := strings.CutPrefix(strings.ReplaceAll(name, "_", "-"), "no-"); no {
		if o := Find(command, on); o != nil && o.Kind == Truth {
			return question("--", on+"=false")
		}
	}
	if of := having(name); len(of) > 0 && Find(command, name) == nil && meant(name) == "" {
		return "; it is an option of " + strings.Join(of, ", ")
	}
	return question("--", likely(name, NamesOf(command)))
}

// having are the commands that have an option of a name.
func having(name string) (of []string) {
	for _, c := range Commands() {
		if Find(c, name) != nil {
			of = append(of, c)
		}
	}
	return of
}
