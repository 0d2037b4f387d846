package files

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"longlora/internal/errs"
	"longlora/internal/par"
)

// Fingerprint tells one version of a file from another.
type Fingerprint struct {
	Name    string    `json:"name"`
	Size    int64     `json:"size"`
	Time    time.Time `json:"mtime"`             // of the last change, as the file system says
	SHA256  string    `json:"sha256"`            // of the whole file, or of its size and samples
	Sampled bool      `json:"sampled,omitempty"` // the hash is of samples
}

// What Sample reads of a file: all of one that has up to wholeBytes, otherwise edgeBytes at either end and, evenly
// between, as many blocks as samples says. A change that is longer than the space between two blocks is always seen.
const (
	wholeBytes = 64 << 20
	edgeBytes  = 1 << 20
	blockBytes = 64 << 10
	samples    = 126
)

// Sample fingerprints a file that others own and that may be too large to be read at every start: at most 64 MiB of it
// are read. Where only samples are hashed, the time of change stands for what lies between them.
func Sample(path, name string) (Fingerprint, error) { return take(path, name, false) }

// Whole fingerprints a file that this program wrote, by all of its bytes.
func Whole(path, name string) (Fingerprint, error) { return take(path, name, true) }

// Each takes the fingerprint of every file, several at a time, under the last part of its path.
func Each(take func(path, name string) (Fingerprint, error), paths []string) ([]Fingerprint, error) {
	out, faults := make([]Fingerprint, len(paths)), make([]error, len(paths))
	var next atomic.Int64
	var wg par.Group
	for range min(len(paths), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(paths)); i = next.Add(1) - 1 {
				out[i], faults[i] = take(paths[i], filepath.Base(paths[i]))
			}
		})
	}
	wg.Wait()
	for _, err := range faults {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Folder fingerprints what this program wrote into a folder, by all bytes: the files named, or all that lie there.
func Folder(dir string, names ...string) ([]Fingerprint, error) {
	if len(names) == 0 {
		var err error
		if names, err = Contents(dir); err != nil {
			return nil, err
		}
	}
	paths := make([]string, len(names))
	for i, n := range names {
		paths[i] = filepath.Join(dir, n)
	}
	return Each(Whole, paths)
}

// Intact refuses a folder of which a file is gone or not the one that was written.
func Intact(dir string, written []Fingerprint) error {
	var names []string
	for _, f := range written {
		if f.Name != filepath.Base(f.Name) {
			return errs.Dataf("%s: its record names %q, which is no file's name", dir, f.Name)
		}
		names = append(names, f.Name)
	}
	if len(names) == 0 {
		return nil
	}
	now, err := Folder(dir, names...)
	if err != nil {
		return err
	}
	for i, f := range now {
		if f.Since(written[i]) != Unchanged {
			return errs.Dataf("%s: not the file that was written: %s, now %s", filepath.Join(dir, f.Name), written[i], f)
		}
	}
	return nil
}

// String is a fingerprint in words.
func (p Fingerprint) String() string {
	return fmt.Sprintf("%s of %d bytes (%s)", p.Name, p.Size, p.SHA256[:min(12, len(p.SHA256))])
}

func take(path, name string, whole bool) (Fingerprint, error) {
	f, err := Open(path)
	if err != nil {
		return Fingerprint{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Fingerprint{}, Fault(path, err)
	}
	p := Fingerprint{Name: Kept(name), Size: st.Size(), Time: st.ModTime().UTC(),
		Sampled: !whole && st.Size() > wholeBytes}
	p.SHA256, err = hash(f, p.Size, p.Sampled)
	if err != nil {
		return Fingerprint{}, Fault(path, err)
	}
	return p, nil
}

// hash is the sha256 of a file's bytes, or of its size and samples.
func hash(f *os.File, size int64, sampled bool) (string, error) {
	h := sha256.New()
	add := func(at, n int64) error {
		got, err := io.Copy(h, io.NewSectionReader(f, at, n))
		if err == nil && got < n {
			err = io.ErrUnexpectedEOF // it was made shorter
		}
		return err
	}
	if !sampled {
		if err := add(0, size); err != nil {
			return "", err
		}
		return hex.EncodeToString(h.Sum(nil)), nil
	}
	_ = binary.Write(h, binary.LittleEndian, size) // a hash takes all
	if err := add(0, edgeBytes); err != nil {
		return "", err
	}
	between := size - 2*edgeBytes - blockBytes
	for i := range int64(samples) {
		if err := add(edgeBytes+between/(samples-1)*i, blockBytes); err != nil {
			return "", err
		}
	}
	if err := add(size-edgeBytes, edgeBytes); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Content is the part of a fingerprint that files of the same content share, in one text; where only samples are hashed
// the time of change is in it.
func (p Fingerprint) Content() string {
	if p.Sampled {
		return fmt.Sprintf("%d %s %s", p.Size, p.SHA256, p.Time.Format(time.RFC3339Nano))
	}
	return fmt.Sprintf("%d %s", p.Size, p.SHA256)
}

// Change is what two fingerprints of one file, taken one after the other, say of it.
type Change int

// The changes, the least first.
const (
	Unchanged Change = iota
	// the same size and samples at another time: copied, most likely, but a change between samples is not seen
	Touched
	Changed
)

// Since compares a fingerprint with the one that was taken before. The time counts only where the hash does not cover
// all bytes; the name never.
func (p Fingerprint) Since(was Fingerprint) Change {
	switch {
	case p.Size != was.Size || p.SHA256 != was.SHA256 || p.Sampled != was.Sampled:
		return Changed
	case p.Sampled && !p.Time.Equal(was.Time):
		return Touched
	}
	return Unchanged
}
