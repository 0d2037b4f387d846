package config

import (
	"github.com/spf13/pflag"

	"longlora/internal/errs"
)

// Prepare are the options of prepare.
type Prepare struct {
	Common
	Documents
	Model, Out       string
	Data             []string
	NoSpecial, Stats bool
	Ctx              []int
	Values           *Values
}

// Flags defines prepare's options.
func (p *Prepare) Flags(f *pflag.FlagSet) {
	f.StringVar(&p.Model, "model", "", "whose tokenizer: a folder with config.json and a tokenizer, or a Hugging Face name in the local cache")
	f.StringArrayVar(&p.Data, "data", nil, "text, JSON, CSV, parquet or Arrow files, or a folder")
	f.StringVar(&p.Out, "out", "", "token file to write, F.bin; F.bin.json and F.bin.idx beside it")
	p.DocumentFlags(f)
	p.ScoreFlags(f)
	f.BoolVar(&p.NoSpecial, "no-special", false, "add no BOS, EOS or other special token")
	f.BoolVar(&p.Stats, "stats", false, "print how long the documents are, and what contexts of --ctx can use of them")
	f.IntSliceVar(&p.Ctx, "ctx", nil, "contexts for --stats, by comma (default 4096,8192,16384,32768)")
	p.Common.Flags(f)
}

// Finish validates the options.
func (p *Prepare) Finish(v *Values) error {
	p.Values = v
	if err := v.Require("model", "data", "out"); err != nil {
		return err
	}
	if len(p.Data) != 1 {
		return errs.Usagef("--data: %d given; prepare one at a time, each into a file of its own", len(p.Data))
	}
	if len(p.Ctx) == 0 {
		p.Ctx = []int{4096, 8192, 16384, 32768}
	}
	for _, n := range p.Ctx {
		if n < 2 {
			return errs.Usagef("--ctx %d: must be 2 or more", n)
		}
	}
	if err := p.checkThreads(); err != nil {
		return err
	}
	if p.Format == "tokens" {
		return errs.Usagef("--format tokens: token ids need no preparing")
	}
	if err := checkPaths("data", p.Data); err != nil {
		return err
	}
	return p.CheckDocuments()
}
