package data

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

func parquetOf[T any](t *testing.T, rows ...T) string {
	t.Helper()
	var b bytes.Buffer
	if err := parquet.Write(&b, rows, parquet.Compression(&parquet.Zstd)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

type textRow struct {
	Text string `parquet:"text"`
	N    int64  `parquet:"n"`
}

type alpacaRow struct {
	Instruction string  `parquet:"instruction"`
	Input       *string `parquet:"input,optional"`
	Output      string  `parquet:"output"`
}

type turnRow struct {
	Role    string `parquet:"role"`
	Content string `parquet:"content"`
}

type chatRow struct {
	Messages []turnRow `parquet:"messages,list"`
	ID       string    `parquet:"id"`
}

type repeatedRow struct {
	Text string `parquet:"text,dict"`
	N    int64  `parquet:"n"`
}

// Long cells of a table are the documents that they would be elsewhere.
func TestLongCells(t *testing.T) {
	smallParts(t)
	long := strings.Repeat("the otter is in the inn. ", 1000)
	want := []string{"<s>a</s>", "<s>" + long + "</s>", "<s>b</s>"}
	if got := texts(t, realOptions(t, write(t, "a.parquet", parquetOf(t, textRow{"a", 1}, textRow{long, 2}, textRow{"b", 3})), "", 0)); !reflect.DeepEqual(got, want) {
		t.Errorf("%d documents: %.200q", len(got), got)
	}
}
