package doctor

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a folder's file system.
type Disk struct {
	Of    string  `json:"of"` // "working folder" or "TMPDIR"
	Path  string  `json:"path"`
	Free  int64   `json:"free"` // bytes that this user may take
	Total int64   `json:"total"`
	Write float64 `json:"write_bytes_per_s"` // with each piece brought to the disk; 0: not measured
	Read  float64 `json:"read_bytes_per_s"`  // after asking the system to forget the file
	Error string  `json:"error,omitempty"`
	dev   uint64
}

// The measurement writes pieces until the time is over or the file has its size, and keeps clear of a full disk.
const (
	pieceBytes  = 8 << 20
	fileBytes   = 64 << 20
	measureTime = 500 * time.Millisecond
	spareBytes  = 256 << 20
)

// disks looks at the working folder and at the folder of temporary files; one file system is measured once.
func disks() []Disk {
	here, err := os.Getwd()
	if err != nil {
		here = "."
	}
	a, b := look("working folder", here), look("TMPDIR", os.TempDir())
	a.measure()
	if b.Error == "" && a.Error == "" && a.dev == b.dev {
		b.Write, b.Read = a.Write, a.Read
	} else {
		b.measure()
	}
	return []Disk{a, b}
}

func look(of, path string) Disk {
	d := Disk{Of: of, Path: path}
	if p, err := filepath.Abs(path); err == nil {
		d.Path = p
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	err := unix.Statfs(path, &fs)
	if err == nil {
		err = unix.Stat(path, &st)
	}
	if err != nil {
		d.Error = err.Error()
		return d
	}
	unit := int64(fs.Bsize)
	d.Free, d.Total, d.dev = int64(fs.Bavail)*unit, int64(fs.Blocks)*unit, uint64(st.Dev)
	return d
}

// measure fills in the rates. The file has no name from the start, so that nothing stays behind whatever happens.
func (d *Disk) measure() {
	if d.Error != "" || d.Free < spareBytes {
		return
	}
	f, err := os.CreateTemp(d.Path, ".longlora-doctor-*")
	if err == nil {
		err = os.Remove(f.Name())
		defer f.Close()
	}
	if err == nil {
		d.Write, d.Read, err = rates(f)
	}
	if err != nil {
		d.Error = err.Error()
	}
}

// rates writes and reads the file; bytes a second.
func rates(f *os.File) (write, read float64, err error) {
	piece, r := make([]byte, pieceBytes), rand.NewChaCha8([32]byte{}) // some file systems compress
	_, _ = r.Read(piece)
	size, start := 0, time.Now()
	for size < fileBytes && (size == 0 || time.Since(start) < measureTime) {
		if _, err := f.Write(piece); err != nil {
			return 0, 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, 0, err
		}
		size += len(piece)
	}
	write = float64(size) / time.Since(start).Seconds()
	_ = unix.Fadvise(int(f.Fd()), 0, int64(size), unix.FADV_DONTNEED) // a file system without it reads from memory
	got, start := 0, time.Now()
	for got < size && (got == 0 || time.Since(start) < measureTime) {
		n, err := f.ReadAt(piece, int64(got))
		if err != nil {
			return 0, 0, err
		}
		got += n
	}
	return write, float64(got) / time.Since(start).Seconds(), nil
}
