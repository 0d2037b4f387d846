package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
)

// line is one kept result.
type line struct {
	Key   string `json:"key"`
	Score *Score `json:"score,omitempty"`
	Right *bool  `json:"right,omitempty"`
	Said  *Said  `json:"said,omitempty"`
}

// journal keeps results as they come; without a folder it keeps nothing.
type journal struct {
	dir  string
	have map[string]line
	end  int64    // of the whole lines in the file
	f    *os.File // opened with the first new result
}

func openJournal(dir string) (*journal, error) {
	j := &journal{dir: dir, have: map[string]line{}}
	if dir == "" {
		return j, nil
	}
	f, err := os.Open(j.path())
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, errs.Dataf("%w", err)
	}
	defer f.Close()
	for r := bufio.NewReader(f); ; {
		b, err := r.ReadBytes('\n')
		var l line
		if err != nil || json.Unmarshal(bytes.TrimSpace(b), &l) != nil {
			return j, nil // the torn end of a killed run
		}
		j.have[l.Key] = l
		j.end += int64(len(b))
	}
}

func (j *journal) path() string { return filepath.Join(j.dir, "windows.jsonl") }

// open makes the folder and cuts off what a killed run left torn.
func (j *journal) open() error {
	if err := ckpt.MakeDir(j.dir); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path(), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return errs.Dataf("%w", err)
	}
	j.f = f
	if err := f.Truncate(j.end); err != nil {
		return errs.Dataf("%w", err)
	}
	if _, err := f.Seek(j.end, io.SeekStart); err != nil {
		return errs.Dataf("%w", err)
	}
	return nil
}

func (j *journal) add(l line) error {
	if j.dir == "" {
		return nil
	}
	if j.f == nil {
		if err := j.open(); err != nil {
			return err
		}
	}
	j.have[l.Key] = l
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if _, err := j.f.Write(append(b, '\n')); err != nil {
		return errs.Dataf("%w", err)
	}
	return nil
}

func (j *journal) close() {
	if j.f != nil {
		j.f.Close()
	}
}
