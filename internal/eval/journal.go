package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/proc"
	"longlora/internal/rundir"
	"longlora/internal/ui"
)

// line is one kept result. In the file it is sealed with the sha256 of what stands before it.
type line struct {
	Key    string `json:"key"`
	Score  *Score `json:"score,omitempty"`
	Right  *bool  `json:"right,omitempty"`
	Missed *Miss  `json:"missed,omitempty"`
	Said   *Said  `json:"said,omitempty"`

	Answer *Answer `json:"answer,omitempty"` // of the task ruler
}

// journal keeps results as they come in a folder that it holds the lock of; without a folder it keeps nothing.
type journal struct {
	dir     string
	lock    *files.Locked
	have    map[string]line
	damaged int      // lines that are not as they were written
	end     int64    // of the whole lines in the file
	f       *os.File // opened with the first new result
}

// openJournal takes an --out for results, and what is kept there.
func openJournal(dir string) (*journal, error) {
	j := &journal{dir: dir, have: map[string]line{}}
	if dir == "" {
		return j, nil
	}
	names, err := files.Contents(dir)
	if err != nil {
		return nil, err
	}
	if j.lock, err = files.Lock(dir, "another evaluation writes its results here; wait for it, or choose another "+
		errs.Option("out").String()); err != nil {
		return nil, err
	}
	if err = j.load(); err == nil {
		err = j.checkResults()
	}
	if err == nil && names != nil {
		err = files.Sweep(dir)
	}
	if err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

// load reads what is kept.
func (j *journal) load() error {
	f, err := files.Open(j.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	torn, err := j.read(f)
	if err != nil {
		return files.Fault(j.path(), err)
	}
	if first := []byte(`{"key":"`); len(j.have) == 0 && (j.damaged > 0 || !bytes.HasPrefix(torn,
		first[:min(len(first), len(torn))])) {
		return errs.Usagef("%s %s: no line of its %s is a result that eval wrote; it is left alone: give another folder",
			errs.Option("out"), j.dir, rundir.JournalFile)
	}
	return nil
}

// read takes the lines of a journal, and returns the beginning of what a kill tore off at its end. Lines that are not
// as they were written are counted, and computed again.
func (j *journal) read(from io.Reader) (torn []byte, err error) {
	const longest = 1 << 20 // far above that of any line
	r := bufio.NewReaderSize(from, longest)
	for {
		b, err := r.ReadSlice('\n')
		n := int64(len(b))
		for errors.Is(err, bufio.ErrBufferFull) {
			b, err = r.ReadSlice('\n')
			n, b = n+int64(len(b)), nil
		}
		if errors.Is(err, io.EOF) {
			return bytes.Clone(b[:min(len(b), 64)]), nil
		}
		if err != nil {
			return nil, err
		}
		j.end += n
		var l line
		if _, whole := files.Sealed(b); !whole || json.Unmarshal(b, &l) != nil {
			j.damaged++
			continue
		}
		j.have[l.Key] = l
	}
}

// checkResults refuses an --out whose results.json is not of an evaluation: it would be overwritten.
func (j *journal) checkResults() error {
	var rep Report
	var fields map[string]any
	path := filepath.Join(j.dir, rundir.ResultsFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) || len(j.have) > 0 {
		return nil
	}
	err := files.ReadJSON(path, &rep)
	if err == nil {
		err = files.ReadJSON(path, &fields)
	}
	_, seed := fields["seed"] // an evaluation in which no length had a window has that beside no results
	if err != nil || len(rep.Results) == 0 && !seed || len(rep.Results) > 0 && (rep.Results[0].Task == "" ||
		rep.Results[0].Ctx == 0) {
		return errs.Usagef("%s %s: its %s was not written by eval; it is left alone: give another folder", errs.Option("out"),
			j.dir, rundir.ResultsFile)
	}
	return nil
}

func (j *journal) path() string { return filepath.Join(j.dir, rundir.JournalFile) }

// open cuts off what a killed run left torn.
func (j *journal) open() error {
	f, err := os.OpenFile(j.path(), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return files.Fault(j.path(), err)
	}
	j.f = f
	if err := f.Truncate(j.end); err != nil {
		return files.Fault(j.path(), err)
	}
	_, err = f.Seek(j.end, io.SeekStart)
	return files.Fault(j.path(), err)
}

// add keeps a result, unless it may come of a file that broke.
func (j *journal) add(l line) error {
	if err := proc.Broken(); err != nil {
		return err
	}
	if j.dir == "" {
		return nil
	}
	if err := j.lock.Check(); err != nil {
		return err
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
	_, err = j.f.Write(append(files.Seal(b), '\n'))
	return files.Fault(j.path(), err)
}

// finish writes the results that were asked for.
func (j *journal) finish(rep Report) error {
	if j.dir == "" {
		return nil
	}
	if err := j.lock.Check(); err != nil {
		return err
	}
	return files.WriteJSON(filepath.Join(j.dir, rundir.ResultsFile), rep)
}

// note says what of the journal is computed again; "" for nothing.
func (j *journal) note() string {
	if j.damaged == 0 {
		return ""
	}
	return fmt.Sprintf("%s: damaged: %s; what was there is computed again", j.path(), ui.Count(j.damaged, "line"))
}

func (j *journal) close() {
	if j.f != nil {
		_ = j.f.Close() // each line was written at once
	}
	if j.lock != nil {
		j.lock.Release()
	}
}
