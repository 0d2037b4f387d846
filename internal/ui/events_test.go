package ui

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"longlora/internal/testkit"

	"google.golang.org/protobuf/encoding/protowire"
)

// The file's records parse, their checksums hold, and they carry what was written.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "events.out.tfevents.1.somebody")
	testkit.Write(t, other, "theirs")
	for range 2 { // the second takes the first one's place
		e, err := OpenEvents(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Write(time.Unix(1700000000, 500000000), 3, []Scalar{{"train/loss", 1.5}, {"train/lr", 2e-5}}); err != nil {
			t.Fatal(err)
		}
		if err := e.Parameters(time.Unix(1700000000, 0), map[string]string{"lr": "2e-05", "pack": "cut", "shuffle": "true"}); err != nil {
			t.Fatal(err)
		}
		if err := e.Done(time.Unix(1700000001, 0)); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(other); err != nil {
		t.Error("another program's event file is gone")
	}
	ours, _ := filepath.Glob(filepath.Join(dir, "*"+eventSuffix))
	if len(ours) != 1 {
		t.Fatalf("%d event files", len(ours))
	}
	b := testkit.Read(t, ours[0])
	var records [][]byte
	for len(b) > 0 {
		n := binary.LittleEndian.Uint64(b)
		if masked(b[:8]) != binary.LittleEndian.Uint32(b[8:]) || masked(b[12:12+n]) != binary.LittleEndian.Uint32(b[12+n:]) {
			t.Fatal("a checksum is wrong")
		}
		records = append(records, b[12:12+n])
		b = b[16+n:]
	}
	if len(records) != 4 {
		t.Fatalf("%d records", len(records))
	}
	// as TensorBoard 2.21 reads them: its table of parameters had these options, and the run as ended (1)
	if !strings.HasSuffix(string(records[2]), "\n\x1c_hparams_/session_start_infoJG\nE\n\ahparams\x12:\x1a8"+
		"\n\x0f\n\x02lr\x12\t\x11\xf1h\xe3\x88\xb5\xf8\xf4>\n\r\n\x04pack\x12\x05\x1a\x03cut"+
		"\n\r\n\ashuffle\x12\x02 \x01)\x00\x00\x00@\xfcT\xd9A") {
		t.Errorf("parameters: %q", records[2])
	}
	if !strings.HasSuffix(string(records[3]), "\n\ahparams\x12\r\"\v\b\x01\x11\x00\x00@@\xfcT\xd9A") {
		t.Errorf("end: %q", records[3])
	}
	got := map[string]float32{}
	for m := records[1]; len(m) > 0; {
		num, typ, n := protowire.ConsumeTag(m)
		m = m[n:]
		switch num {
		case 1:
			if v, _ := protowire.ConsumeFixed64(m); math.Float64frombits(v) != 1700000000.5 {
				t.Errorf("wall time %g", math.Float64frombits(v))
			}
		case 2:
			if v, _ := protowire.ConsumeVarint(m); v != 3 {
				t.Errorf("step %d", v)
			}
		case 5:
			summary, _ := protowire.ConsumeBytes(m)
			for len(summary) > 0 {
				value, k := protowire.ConsumeBytes(summary[1:])
				summary = summary[1+k:]
				tag, k := protowire.ConsumeString(value[1:])
				bits, _ := protowire.ConsumeFixed32(value[1+k+1:])
				got[tag] = math.Float32frombits(bits)
			}
		}
		m = m[protowire.ConsumeFieldValue(num, typ, m):]
	}
	if len(got) != 2 || got["train/loss"] != 1.5 || got["train/lr"] != float32(2e-5) {
		t.Errorf("values %v", got)
	}
}
