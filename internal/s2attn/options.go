package s2attn

import (
	"math/big"

	"longlora/internal/errs"
)

// Options say how attention is computed, at any context.
type Options struct {
	Attn      string // s2 or full
	Shift     string // split or roll
	Group     string // a fraction of the context: a decimal as it was written
	GroupSize *int   // tokens, in the place of Group
}

// MostGroup is the largest group, in tokens.
const MostGroup = 1 << 30

// GroupFor is G for a context, 0 under full attention.
func (o Options) GroupFor(ctx int) (int, error) {
	if o.Attn == "full" {
		return 0, nil
	}
	if o.GroupSize != nil {
		return *o.GroupSize, nil
	}
	r := new(big.Rat)
	ok := decimal.MatchString(o.Group)
	if ok {
		_, ok = r.SetString(o.Group)
	}
	if !ok || r.Sign() <= 0 || r.Cmp(big.NewRat(1, 1)) > 0 {
		return 0, errs.Usagef("%s %s: not a decimal number above 0 and at most 1, as 0.25", errs.Option("group"), o.Group)
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(ctx)))
	g := int(new(big.Int).Quo(r.Num(), r.Denom()).Int64())
	if g < 2 {
		return 0, errs.Usagef("%s %s of %s %d is a group of %d tokens; at least 2 are needed",
			errs.Option("group"), o.Group, errs.Option("ctx"), ctx, g)
	}
	return g, nil
}

// Spec is how a row of a context attends.
func (o Options) Spec(ctx int) (Spec, error) {
	g, err := o.GroupFor(ctx)
	switch {
	case err != nil:
		return Spec{}, err
	case o.Attn == "full":
		return Spec{Mode: Full}, nil
	case o.Shift == "roll":
		return Spec{Mode: Roll, Group: g}, nil
	}
	return Spec{Mode: Split, Group: g}, nil
}

// Rolls reports whether the wrapped variant is asked for.
func (o Options) Rolls() bool { return o.Attn == "s2" && o.Shift == "roll" }

// CheckRoll refuses a context that the wrapped variant cannot compute, where that is asked for: it wants whole groups
// of an even size.
func (o Options) CheckRoll(ctx int) error {
	g, err := o.GroupFor(ctx)
	if err == nil && o.Rolls() && (g%2 != 0 || ctx%g != 0) {
		err = errs.Usagef("%s roll: %s %d must be a multiple of an even group size, which is %d",
			errs.Option("shift"), errs.Option("ctx"), ctx, g)
	}
	return err
}
