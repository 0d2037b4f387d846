package cli

import (
	"fmt"
	"slices"
	"strings"

	"longlora/internal/ckpt"
	"longlora/internal/files"
)

// none notes those of some options that were given on the command line or by a variable and have no effect beside the
// rest, which why says. A file may be shared, and is left alone.
func (v *Values) none(why string, names ...string) {
	which, have := v.spoken(names...), "has"
	if strings.Contains(which, ",") {
		have = "have"
	}
	if which != "" {
		v.note("%s %s no effect%s", which, have, why)
	}
}

// spoken are those of some options that a command line or a variable gave, as a message names them.
func (v *Values) spoken(names ...string) string {
	names = slices.DeleteFunc(names, func(n string) bool { return !v.Given(n) || v.InFile(n) })
	for i, n := range names {
		names[i] = v.by(n)
	}
	return strings.Join(names, ", ")
}

// once leaves out of a list what stands in it again, with a note: the same would be computed twice.
func once[T comparable](v *Values, name string, list []T, same func(a, b T) bool) (out []T) {
	var again []T
	for _, x := range list {
		first := slices.IndexFunc(out, func(y T) bool { return same(x, y) })
		switch {
		case first < 0:
			out = append(out, x)
			continue
		case slices.Contains(again, x):
			continue
		case out[first] == x:
			v.note("%s: %v is given more than once, and is done once", v.by(name), x)
		default:
			v.note("%s: %v is %v, which is given too, and is done once", v.by(name), x, out[first])
		}
		again = append(again, x)
	}
	return out
}

// equal is by what once knows again what has one spelling only.
func equal[T comparable](a, b T) bool { return a == b }

// oneModel reports whether two names are of one model: smol, ./smol/, a link to it, or a name in the local cache.
func oneModel(a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := ckpt.Resolve(a)
	y, err2 := ckpt.Resolve(b)
	return err1 == nil && err2 == nil && files.SameDir(x, y)
}

// idleEval notes what of eval's options is for tasks that are not asked for.
func (v *Values) idleEval() {
	without := func(name string, tasks ...string) {
		if !slices.ContainsFunc(tasks, func(t string) bool { return slices.Contains(v.texts("task"), t) }) {
			v.none(": it is for --task "+strings.Join(tasks, ", "), name)
		}
	}
	for _, name := range []string{"data", "stride", "protocol", "attn"} {
		without(name, "ppl")
	}
	without("limit", "ppl", "ruler")
	without("trials", "passkey", "topics", "ruler")
	without("depths", "passkey")
	without("passkey-template", "passkey")
	if v.text("attn") == "full" {
		v.none(" under --attn full", "group", "group-size", "shift")
	}
	if v.text("protocol") != "sliding" || !slices.Contains(v.texts("task"), "ppl") {
		return
	}
	for _, n := range v.lengths("ctx") {
		if v.tokens("stride") > n {
			v.note("%s is longer than %s %d: tokens between windows are in none, and are not scored", v.shown("stride"),
				v.by("ctx"), n)
		}
	}
}

// idleGenerate notes what of generate's options is for texts that are drawn.
func (v *Values) idleGenerate() {
	if v.real("temperature") == 0 {
		v.none(" without --temperature: the most probable token is taken", "top-p", "seed")
	}
}

// idle notes what was given to train or extend and has no effect beside the rest.
func (v *Values) idle() {
	if v.text("tune") == "full" {
		v.none(": --tune full trains every weight", "rank", "alpha", "rslora", "targets", "dropout", "train-embed",
			"train-norm", "train-head")
	}
	if v.text("attn") == "full" {
		v.none(" under --attn full", "group", "group-size", "shift")
	}
	if v.whole("eval-every") == 0 {
		v.none(" without --eval-every", "eval-attn")
		if v.fs.Name() == "train" {
			v.none(" without --eval-every: nothing is validated", "eval-data")
		}
		if which := v.spoken("eval-fraction"); which != "" && v.real("eval-fraction") > 0 {
			v.note("%s holds rows out that nothing is validated on; add --eval-every N", which)
		}
	}
	if ctx, batch := v.tokens("ctx"), max(1, v.whole("batch")); v.tokens("tile") > ctx*batch {
		v.none(fmt.Sprintf(": it is more than the %d tokens that there are", ctx*batch), "tile")
	}
}
