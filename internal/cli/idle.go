package cli

import (
	"fmt"
	"slices"
	"strings"
)

// idle notes what was given to train or extend on the command line or by a variable and has no effect beside the rest.
// A file may be shared, and is left alone.
func (v *Values) idle() {
	given := func(names ...string) string {
		names = slices.DeleteFunc(names, func(n string) bool { return !v.Given(n) || v.InFile(n) })
		for i, n := range names {
			names[i] = v.by(n)
		}
		return strings.Join(names, ", ")
	}
	has := func(n int) string {
		if n > 1 {
			return "have"
		}
		return "has"
	}
	none := func(why string, names ...string) {
		if which := given(names...); which != "" {
			v.note("%s %s no effect%s", which, has(1+strings.Count(which, ",")), why)
		}
	}
	if v.text("tune") == "full" {
		none(": --tune full trains every weight", "rank", "alpha", "rslora", "targets", "dropout", "train-embed",
			"train-norm", "train-head")
	}
	if v.text("attn") == "full" {
		none(" under --attn full", "group", "group-size", "shift")
	}
	if v.whole("eval-every") == 0 {
		none(" without --eval-every", "eval-attn")
		if v.fs.Name() == "train" {
			none(" without --eval-every: nothing is validated", "eval-data")
		}
		if which := given("eval-fraction"); which != "" && v.real("eval-fraction") > 0 {
			v.note("%s holds rows out that nothing is validated on; add --eval-every N", which)
		}
	}
	if ctx, batch := v.tokens("ctx"), max(1, v.whole("batch")); v.tokens("tile") > ctx*batch {
		none(fmt.Sprintf(": it is more than the %d tokens that there are", ctx*batch), "tile")
	}
}
