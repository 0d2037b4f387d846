package load

import (
	"fmt"
	"slices"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/lora"
	"longlora/internal/model"
)

// Trains says what is trained: what the flags say, or what the adapter holds, with which explicit flags must agree.
func Trains(c *config.Train, base *Base, d model.Desc) (model.Train, error) {
	if c.Tune == "full" {
		return model.Train{Full: true}, nil
	}
	targets, err := lora.Targets(d, c.Targets)
	if err != nil {
		return model.Train{}, err
	}
	if base.Adapter == nil {
		return lora.Fresh{Rank: c.Rank, Alpha: c.Alpha, Drop: c.Dropout, Targets: targets, Embed: c.TrainEmbed, Norms: c.TrainNorm}.Train(d), nil
	}
	tr, err := base.Resume(c.Dropout)
	if err != nil {
		return tr, err
	}
	has := base.Adapter.Config
	for _, d := range []struct {
		flag      string
		asked, is any
		differs   bool
	}{
		{"rank", c.Rank, has.Rank, c.Rank != has.Rank},
		{"alpha", c.Alpha, has.Alpha, c.Alpha != has.Alpha},
		{"targets", targets, base.Adapter.Targets(), !slices.Equal(targets, base.Adapter.Targets())},
		{"train-embed", c.TrainEmbed, tr.Whole[d.EmbedName()], c.TrainEmbed != tr.Whole[d.EmbedName()]},
		{"train-norm", c.TrainNorm, d.TrainsNorms(tr), c.TrainNorm != d.TrainsNorms(tr)},
	} {
		if d.differs && c.Values.Explicit(d.flag) {
			return tr, errs.Usagef("--%s %v: the adapter in %s has %v; leave the flag out or start without --adapter", d.flag, d.asked, c.Adapter, d.is)
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
