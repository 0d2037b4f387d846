package parquet

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"longlora/internal/data/record"
)

// pageSizes is what a page's header says of its size
// (https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift, PageHeader).
type pageSizes struct {
	Type         int32 `thrift:"1,required"`
	Uncompressed int32 `thrift:"2,required"`
	Compressed   int32 `thrift:"3,required"`
}

var errPages = errors.New("damaged parquet file: the sizes of its pages do not agree; get it again")

// checkPages goes through the pages' headers of the wanted columns, so that none is decompressed that is larger than
// most bytes. It gives the largest page's size, and the sum of all.
func checkPages(f io.ReaderAt, size int64, pf *parquet.File, want func(column string) bool, most int) (largest,
	sum int64, err error) {
	for _, group := range pf.Metadata().RowGroups {
		for _, c := range group.Columns {
			m := &c.MetaData
			if len(m.PathInSchema) == 0 || !want(m.PathInSchema[0]) {
				continue
			}
			at := firstPage(m)
			end := at + m.TotalCompressedSize
			if at < 0 || m.TotalCompressedSize < 0 || end < at || end > size {
				return 0, 0, errPages
			}
			for at < end {
				p, n, err := pageAt(f, at, end)
				if err != nil {
					return 0, 0, err
				}
				if int(p.Uncompressed) > most {
					return 0, 0, record.ErrLong
				}
				largest, sum = max(largest, int64(p.Uncompressed)), sum+int64(p.Uncompressed)
				at += n + int64(p.Compressed)
			}
		}
	}
	return largest, sum, nil
}

// firstPage is where a column's pages begin in a group. A group without rows may have a dictionary alone, and says 0
// for the others.
func firstPage(m *format.ColumnMetaData) int64 {
	if d, p := m.DictionaryPageOffset, m.DataPageOffset; d > 0 && (d < p || p == 0) {
		return d
	}
	return m.DataPageOffset
}

// pageAt reads the header of a page, n bytes long.
func pageAt(f io.ReaderAt, at, end int64) (p pageSizes, n int64, err error) {
	r := &counting{r: io.NewSectionReader(f, at, end-at)}
	br := bufio.NewReaderSize(r, 1<<10)
	err = thrift.NewDecoder((&thrift.CompactProtocol{}).NewReader(br)).Decode(&p)
	n = r.n - int64(br.Buffered())
	if err != nil || p.Uncompressed < 0 || p.Compressed < 0 || n+int64(p.Compressed) > end-at {
		return p, n, fmt.Errorf("%w (at byte %d)", errPages, at)
	}
	return p, n, nil
}

// counting counts what is read.
type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
