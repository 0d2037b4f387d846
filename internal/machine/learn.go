package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/ops"
)

// Shares of a short measurement's rates that whole steps sustain. On an H200 calibrate (machine.test -test.run
// Calibrate -test.v) found 834 and 604 TFLOP/s, 3.8 TB/s and 53 GB/s, where steps are predicted right by what is built
// in for it.
const (
	lastingLinear    = 0.76
	lastingAttention = 0.91
	lastingBytes     = 0.9
	lastingMoved     = 0.94
)

// Learn measures the rates of a chip for which none that were measured are built in, once, and keeps them in the user's
// cache: from then on the same machine and limits give the same plan. Rates that cannot be kept are an error of kind
// Data.
func Learn(card ops.Card, log io.Writer) error {
	name := card.Chip().Name
	if c := knownAs(name); c != nil && c.source == Measured {
		return nil
	}
	if _, kept, err := learned(name); kept || err != nil {
		return err
	}
	r, err := calibrate(card)
	if err != nil {
		return fmt.Errorf("measuring the rates of %s: %w", name, err)
	}
	r.Linear, r.Attention, r.Bytes, r.Moved = lastingLinear*r.Linear, lastingAttention*r.Attention, lastingBytes*r.Bytes,
		lastingMoved*r.Moved
	path, err := learnedAt(name)
	if err != nil {
		return err
	}
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = files.WriteJSON(path, r)
	}
	if err != nil {
		return errs.Dataf("%s: the rates of %s cannot be kept, and plans depend on them: %v; set XDG_CACHE_HOME to a folder "+
			"that can be written", path, name, err)
	}
	fmt.Fprintf(log, "measured    %s: %.0f and %.0f TFLOP/s in products and attention, %.0f GB/s from host memory; kept "+
		"in %s\n",
		name, r.Linear/1e12, r.Attention/1e12, r.Moved/1e9, path)
	return nil
}

// learned are the rates that are kept for a chip.
func learned(name string) (r ops.Rates, kept bool, err error) {
	path, err := learnedAt(name)
	if err != nil {
		return r, false, err
	}
	b, err := files.Read(path, 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err == nil && !(r.Linear > 0 && r.Attention > 0 && r.Bytes > 0 && r.Moved > 0 && r.Call >= 0) {
		err = fmt.Errorf("rates must be positive")
	}
	if err != nil {
		return r, false, errs.Dataf("%s: %v; remove the file, and the rates of %s are measured again", path, err, name)
	}
	return r, true, nil
}

// learnedAt is the file of a chip's rates.
func learnedAt(name string) (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", errs.Dataf("there is no folder to keep the rates of %s in: %v; set XDG_CACHE_HOME", name, err)
	}
	clean := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}
	return filepath.Join(dir, "longlora", "rates-"+strings.Map(clean, name)+".json"), nil
}
