package ui

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"longlora/internal/files"
)

// Scalar is one value of a step, under TensorBoard's tag.
type Scalar struct {
	Tag   string
	Value float64
}

// Events writes a TensorBoard event file: records of a little-endian length, its masked CRC-32C, an Event message
// and its masked CRC (TFRecord). Fields of Event: 1 wall_time, 2 step, 3 file_version, 5 summary; of Summary:
// 1 value; of Value: 1 tag, 2 simple_value.
type Events struct{ f *os.File }

// Files of these names are ours, so that a run that goes on can replace them.
const (
	eventPrefix = "events.out.tfevents."
	eventSuffix = ".longlora"
)

// OpenEvents begins a new event file in dir, in place of those that Events wrote there before.
func OpenEvents(dir string) (*Events, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, files.Fault(dir, err)
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return nil, files.Fault(dir, err)
	}
	for _, e := range old {
		if strings.HasPrefix(e.Name(), eventPrefix) && strings.HasSuffix(e.Name(), eventSuffix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, files.Fault(filepath.Join(dir, e.Name()), err)
			}
		}
	}
	now := time.Now()
	path := filepath.Join(dir, fmt.Sprintf("%s%d%s", eventPrefix, now.Unix(), eventSuffix))
	f, err := os.Create(path)
	if err != nil {
		return nil, files.Fault(path, err)
	}
	e := &Events{f}
	version := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), "brain.Event:2")
	if err := e.record(append(event(now, 0), version...)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return e, nil
}

// Write adds a step's values.
func (e *Events) Write(at time.Time, step int, values []Scalar) error {
	var summary []byte
	for _, v := range values {
		b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), v.Tag)
		b = protowire.AppendFixed32(protowire.AppendTag(b, 2, protowire.Fixed32Type), math.Float32bits(float32(v.Value)))
		summary = protowire.AppendBytes(protowire.AppendTag(summary, 1, protowire.BytesType), b)
	}
	return e.record(protowire.AppendBytes(protowire.AppendTag(event(at, step), 5, protowire.BytesType), summary))
}

// Close closes the file.
func (e *Events) Close() error { return e.f.Close() }

func event(at time.Time, step int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(appendDouble(nil, 1, seconds(at)), 2, protowire.VarintType),
		uint64(step))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is TFRecord's checksum: a CRC stored beside data that holds CRCs itself is turned and moved.
func masked(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// record writes one record in one call.
func (e *Events) record(data []byte) error {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, len(data)+16), uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, masked(b))
	b = append(b, data...)
	b = binary.LittleEndian.AppendUint32(b, masked(data))
	if _, err := e.f.Write(b); err != nil {
		return files.Fault(e.f.Name(), err)
	}
	return nil
}
