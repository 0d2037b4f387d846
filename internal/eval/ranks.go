package eval

import (
	"context"
	"encoding/json"
	"errors"

	"longlora/internal/errs"
)

// A group of ranks shares the windows and prompts of an item: each computes every so-manieth of those that have no
// result yet, then all tell each other what they found, and each makes the same whole of it. Rank 0 alone keeps
// results.

// share is a rank's share of an item while it is computed.
type share struct {
	Of    string `json:"of"` // what the item depends on
	Lines []line `json:"lines"`
	Stop  bool   `json:"stop"` // the rank was asked to
	next  int    // number of the next window or prompt without a result
}

// mine reports whether the next window or prompt without a result is this rank's to compute.
func (e *evaluation) mine() bool {
	if e.share == nil {
		return true
	}
	n := e.share.next
	e.share.next++
	return n%e.cfg.Ranks.Size() == e.cfg.Ranks.Rank()
}

// put keeps a result.
func (e *evaluation) put(l line) error {
	if e.share != nil {
		e.share.Lines = append(e.share.Lines, l)
	}
	return e.keep.add(l)
}

// spread does an item's work, by all ranks where there are several: first each its share, then, with all results known,
// what is made of them.
func (e *evaluation) spread(x *item, work func() error) error {
	g := e.cfg.Ranks
	if g.Size() == 1 {
		return work()
	}
	e.share = &share{Of: x.key}
	if n := len(x.ws); n > 0 {
		e.share.Of += windowKey(x.key, e.stream, x.ws[0]) + windowKey(x.key, e.stream, x.ws[n-1])
	}
	err := work()
	own := e.share
	e.share = nil
	if own.Stop = errs.Code(err) == int(errs.Interrupted) || errors.Is(err, context.Canceled); err != nil && !own.Stop {
		return err
	}
	b, err := json.Marshal(own)
	if err != nil {
		return err
	}
	all, err := g.Gather(b)
	if err != nil {
		return err
	}
	for rank, b := range all {
		var s share
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		switch {
		case s.Stop:
			return errs.Interruptedf("interrupted at %s of %d tokens", x.res.Task, x.res.Ctx)
		case s.Of != own.Of:
			return errs.Usagef("rank %d does not evaluate what rank %d does: the model, the data or the options differ; "+
				"give all ranks the same", rank, g.Rank())
		}
		for _, l := range s.Lines {
			if rank != g.Rank() {
				if err := e.keep.add(l); err != nil {
					return err
				}
			}
			e.keep.have[l.Key] = l
		}
	}
	return work()
}

// journal is what rank 0 keeps in --out; the others have what it holds at the beginning.
func (cfg Job) journal() (*journal, error) {
	g, j := cfg.Ranks, &journal{have: map[string]line{}}
	var err error
	if g.Rank() == 0 {
		if j, err = openJournal(cfg.Out); err != nil {
			return nil, err
		}
	}
	if g.Size() == 1 {
		return j, nil
	}
	var b []byte
	if g.Rank() == 0 {
		b, err = json.Marshal(j.have)
	}
	var all [][]byte
	if err == nil {
		all, err = g.Gather(b)
	}
	if err == nil && g.Rank() > 0 {
		err = json.Unmarshal(all[0], &j.have)
	}
	if err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}
