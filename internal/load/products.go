package load

import (
	"fmt"

	"longlora/internal/errs"
	"longlora/internal/machine"
)

// InFP8 is the choice of weights, and of products, in floats of 8 bits.
const InFP8 = "fp8"

// CheckProducts decides how a machine multiplies frozen weights that are held so ("" as they are stored): AsStored,
// bf16 or InFP8. It refuses what is not to be had, and notes what has no effect.
func CheckProducts(asked, held string, m *machine.Machine) (note string, err error) {
	switch option := errs.Option("products"); {
	case asked == InFP8 && m.OnHost:
		return "", errs.Usagef("%s fp8: takes a GPU of compute capability 8.9 or later; a CPU multiplies in float32: "+
			"leave it out", option)
	case asked == InFP8 && held != InFP8:
		return "", errs.Usagef("%s fp8: only weights in fp8 are multiplied so; add %s fp8", option,
			errs.Option("weights"))
	case asked == "bf16" && m.OnHost:
		return option.String() + " bf16 has no effect: a CPU multiplies in float32", nil
	case m.OnHost:
		return "", nil
	case asked == "bf16" || held != InFP8:
		return "", m.MultiplyFP8(false)
	}
	switch err = m.MultiplyFP8(true); {
	case err == nil && !m.IsHere() && m.Source != machine.Measured:
		return fmt.Sprintf("products in FP8 have run on Hopper only; whether cuBLASLt has them for %s is found out "+
			"there, and by %s auto weights are made wide where it has not", m.Chip, errs.Option("products")), nil
	case err == nil || asked == InFP8:
		return "", err
	}
	return fmt.Sprintf("products in bf16: %v", err), m.MultiplyFP8(false)
}

// ChooseProducts is CheckProducts for a base whose weights are chosen; the note is added to its own.
func (b *Base) ChooseProducts(asked string, m *machine.Machine) error {
	note, err := CheckProducts(asked, b.Held, m)
	if note != "" {
		b.Notes = append(b.Notes, note)
	}
	return err
}
