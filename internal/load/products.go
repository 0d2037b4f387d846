package load

import "longlora/internal/errs"

// InFP8 is the choice of weights, and of products, in floats of 8 bits.
const InFP8 = "fp8"

// CheckProducts refuses a choice of how frozen weights are multiplied, AsStored, bf16 or InFP8, that is not to be had
// for weights that are held so ("" as they are stored). What has no effect is noted.
func CheckProducts(asked, held string, onHost bool) (note string, err error) {
	switch option := errs.Option("products"); {
	case asked == InFP8 && onHost:
		return "", errs.Usagef("%s fp8: takes a GPU of compute capability 8.9 or later; a CPU multiplies in float32: leave "+
			"it out", option)
	case asked == InFP8 && held != InFP8:
		return "", errs.Usagef("%s fp8: only weights in fp8 are multiplied so; add %s fp8", option,
			errs.Option("weights"))
	case asked == "bf16" && onHost:
		return "products bf16 has no effect: a CPU multiplies in float32", nil
	}
	return "", nil
}

// ChooseProducts is CheckProducts for a base whose weights are chosen; the note is added to its own.
func (b *Base) ChooseProducts(asked string, onHost bool) error {
	note, err := CheckProducts(asked, b.Held, onHost)
	if note != "" {
		b.Notes = append(b.Notes, note)
	}
	return err
}
