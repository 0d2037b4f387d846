package load

import (
	"fmt"
	"slices"

	"longlora/internal/errs"
	"longlora/internal/lora"
	"longlora/internal/model"
)

// Trained says what of a model is trained.
type Trained struct {
	Tune                  string // lora or full
	Random                bool   // from config.json alone, nothing of the checkpoint's weights
	Adapter               string // the folder of the adapter to go on from, "" for a fresh one
	Rank                  int
	Alpha, Dropout        float64
	RSLoRA                bool // the scale is alpha/√rank instead of alpha/rank
	Targets               []string
	TrainEmbed, TrainNorm bool
	TrainHead             bool          // of a model whose head is the embedding, the embedding
	Given                 []errs.Option // those of these options that were given: an adapter must have the same
}

// Trains is what the options say of a model, or what the adapter to go on from holds, with which those that were given
// must agree.
func (c Trained) Trains(base *Base, d model.Desc) (model.Train, error) {
	if c.Tune == "full" {
		if base.Quantised() {
			return model.Train{}, errs.Usagef("%s full: the weights of %s are stored in fewer bits, beside which only an "+
				"adapter is trained; use %s lora, or give the 16-bit checkpoint that they were made from",
				errs.Option("tune"), base.Dir, errs.Option("tune"))
		}
		return model.Train{Full: true}, nil
	}
	targets, err := lora.Targets(d, c.Targets)
	if err != nil {
		return model.Train{}, err
	}
	if base.Adapter == nil {
		return lora.Fresh{Rank: c.Rank, Alpha: c.Alpha, RSLoRA: c.RSLoRA, Drop: c.Dropout, Targets: targets,
			Embed: c.TrainEmbed, Norms: c.TrainNorm, Head: c.TrainHead}.Train(d), nil
	}
	tr, err := base.Resume(c.Dropout)
	if err != nil {
		return tr, err
	}
	has := base.Adapter.Config
	head := tr.Whole[d.HeadName()] || d.Tied && tr.Whole[d.EmbedName()]
	for _, d := range []struct {
		option    errs.Option
		asked, is any
		differs   bool
	}{
		{"rank", c.Rank, has.Rank, c.Rank != has.Rank},
		{"alpha", c.Alpha, has.Alpha, c.Alpha != has.Alpha},
		{"targets", targets, base.Adapter.Targets(), !slices.Equal(targets, base.Adapter.Targets())},
		{"train-embed", c.TrainEmbed, tr.Whole[d.EmbedName()], c.TrainEmbed != tr.Whole[d.EmbedName()]},
		{"rslora", c.RSLoRA, has.RSLoRA, c.RSLoRA != has.RSLoRA},
		{"train-head", c.TrainHead, head, c.TrainHead != head},
		{"train-norm", c.TrainNorm, d.TrainsNorms(tr), c.TrainNorm != d.TrainsNorms(tr)},
	} {
		if d.differs && slices.Contains(c.Given, d.option) {
			return tr, errs.Usagef("%s %v: the adapter in %s has %v; leave the flag out or start without %s",
				d.option, d.asked, c.Adapter, d.is, errs.Option("adapter"))
		}
	}
	return tr, nil
}

// ExtendsNothing says so of a context that the base reads already; "" of a longer one.
func ExtendsNothing(ctx, reads int) string {
	if ctx > reads {
		return ""
	}
	return fmt.Sprintf("the base reads %d tokens already: a context of %d fine-tunes it but extends nothing", reads, ctx)
}
