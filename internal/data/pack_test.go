package data

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
)

// sft are alpaca examples of one-letter words for the letters encoder: n bytes of instruction, m of answer.
func sft(t *testing.T, sizes ...[2]int) string {
	t.Helper()
	var b strings.Builder
	for i, s := range sizes {
		fmt.Fprintf(&b, "{\"instruction\":%q,\"output\":%q}\n", strings.Repeat(string(rune('a'+i)), s[0]), strings.Repeat(string(rune('A'+i)), s[1]))
	}
	return write(t, "sft.jsonl", b.String())
}

// frame is a template with five tokens round an example: BOS, [, ], and </s> of four.
const frame = "[{{.Instruction}}]{{answer}}{{(index .Messages 1).Content}}{{end_answer}}"

func sftOptions(t *testing.T, path, pack, overlong string, ctx int) Options {
	o := options(path, pack, ctx)
	o.Template, o.Overlong = write(t, "t.tmpl", frame), overlong
	return o
}

// spell writes a row with documents divided by | and scored tokens in capitals, as their letters are.
func spell(t *testing.T, r Row) string {
	t.Helper()
	var b strings.Builder
	for i, id := range r.IDs {
		if i > 0 && slices.Contains(r.Docs, int32(i)) {
			b.WriteByte('|')
		}
		scored := r.Scored == nil
		for _, s := range r.Scored {
			scored = scored || int32(i) >= s.Lo && int32(i) < s.Hi
		}
		c := byte(id)
		if id == 1 {
			c = '^'
		}
		if capital := c >= 'A' && c <= 'Z'; r.Scored != nil && capital != scored {
			t.Errorf("token %d of %q: scored %v", i, b.String(), scored)
		}
		b.WriteByte(c)
	}
	return b.String()
}

// Examples lie in rows as the pack says, with their answers scored, whole; what is too long fares as asked for.
func TestExampleRows(t *testing.T) {
	p := sft(t, [2]int{3, 2}, [2]int{1, 1}, [2]int{9, 3}, [2]int{1, 3}, [2]int{2, 1})
	// ^[aaa]AA is 8, ^[b]B 5, ^[ccccccccc]CCC 15, ^[d]DDD 7, ^[ee]E 6
	for _, c := range []struct {
		pack, overlong string
		ctx            int
		want           []string
		fate           Fate
	}{
		{"pad", "drop", 15, []string{"^[aaa]AA", "^[b]B", "^[ccccccccc]CCC", "^[d]DDD", "^[ee]E"}, Fate{}},
		{"cut", "drop", 15, []string{"^[aaa]AA|^[d]DDD", "^[b]B|^[ee]E", "^[ccccccccc]CCC"}, Fate{}},
		{"auto", "drop", 14, []string{"^[aaa]AA|^[ee]E", "^[b]B|^[d]DDD"}, Fate{Dropped: 1}},
		{"cut", "drop", 41, []string{"^[aaa]AA|^[b]B|^[ccccccccc]CCC|^[d]DDD|^[ee]E"}, Fate{}},
		{"concat", "drop", 10, []string{"^[aaa]AA^[", "b]B^[d]DDD"}, Fate{Dropped: 1}},
		{"concat", "drop", 15, []string{"^[aaa]AA^[b]B^[", "ccccccccc]CCC^["}, Fate{}},
	} {
		s, err := Open(t.Context(), sftOptions(t, p, c.pack, c.overlong, c.ctx))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range s.Rows() {
			got = append(got, spell(t, s.Row(i)))
		}
		if !reflect.DeepEqual(got, c.want) || s.Stats(0).Fate != c.fate {
			t.Errorf("%s %d: %q, want %q; %+v", c.pack, c.ctx, got, c.want, s.Stats(0).Fate)
		}
		s.Close()
	}
	if _, err := Open(t.Context(), sftOptions(t, p, "cut", "error", 14)); errs.Code(err) != 4 || !strings.Contains(err.Error(), "sft.jsonl:3") || !strings.Contains(err.Error(), "15 tokens") {
		t.Errorf("--overlong error: %v", err)
	}
	if _, err := Open(t.Context(), sftOptions(t, p, "cut", "drop", 4)); errs.Code(err) != 4 || !strings.HasSuffix(err.Error(), "give a larger --ctx") {
		t.Errorf("nothing fits: %v", err)
	}
}

// Truncation takes the middle of the prompt's longest text and leaves its ends, the rest and the answer; an answer of
// more than ctx − 64 tokens leaves no room.
func TestTruncation(t *testing.T) {
	line := func(instruction, output string) string {
		return fmt.Sprintf("{\"instruction\":%q,\"output\":%q}\n", instruction, output)
	}
	doc := "q" + strings.Repeat("x", 200) + "z"
	p := write(t, "a.jsonl", line(doc, strings.Repeat("A", 30))+line(doc, strings.Repeat("A", 37))+line("short", "B"))
	const ctx = 100
	for _, pack := range []string{"pad", "cut", "concat"} {
		s, err := Open(t.Context(), sftOptions(t, p, pack, "truncate", ctx))
		if err != nil {
			t.Fatal(err)
		}
		want := "^[q" + strings.Repeat("x", 65) + "z]" + strings.Repeat("A", 30)
		if got := spell(t, s.Row(0)); got != want || len(s.Row(0).IDs) != ctx {
			t.Errorf("%s: %q, want %q", pack, got, want)
		}
		if f := s.Stats(0).Fate; f != (Fate{Truncated: 1, LongAnswers: 1}) {
			t.Errorf("%s: %+v", pack, f)
		}
		s.Close()
	}
	// every token is scored where that is asked for
	o := sftOptions(t, p, "pad", "truncate", ctx)
	yes := true
	o.TrainOnPrompt = &yes
	s, err := Open(t.Context(), o)
	if err != nil || s.Row(0).Scored != nil {
		t.Errorf("--train-on-prompt: %v", err)
	}
	s.Close()
}

// Truncation is advised where it helps alone.
func TestTruncationIsAdvised(t *testing.T) {
	doc := "q" + strings.Repeat("x", 200) + "z"
	for _, c := range []struct {
		answer  int
		shorter int
		drop    string // the end of the message where nothing else is there
		error   string
	}{
		{30, 1, "give a larger --ctx, or --overlong truncate", "give a larger --ctx, or --overlong drop or truncate"},
		{37, 0, "give a larger --ctx", "give a larger --ctx, or --overlong drop"},
	} {
		long := fmt.Sprintf("{\"instruction\":%q,\"output\":%q}\n", doc, strings.Repeat("A", c.answer))
		p := write(t, "a.jsonl", long)
		for overlong, want := range map[string]string{"drop": c.drop, "error": c.error} {
			if _, err := Open(t.Context(), sftOptions(t, p, "cut", overlong, 100)); errs.Code(err) != 4 || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("an answer of %d, %s: %v", c.answer, overlong, err)
			}
		}
		p = write(t, "b.jsonl", long+`{"instruction":"short","output":"B"}`)
		s, err := Open(t.Context(), sftOptions(t, p, "cut", "drop", 100))
		if err != nil {
			t.Fatal(err)
		}
		if f := s.Stats(0).Fate; f != (Fate{Dropped: 1, Shorter: c.shorter}) {
			t.Errorf("an answer of %d: %+v", c.answer, f)
		}
		s.Close()
	}
}

// Examples of one stream go on from row to row with their answers, whatever they lost.
func TestConcatOfExamplesIsOneStream(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var sizes [][2]int
	for range 26 {
		sizes = append(sizes, [2]int{r.IntN(300), 1 + r.IntN(60)})
	}
	p := sft(t, sizes...)
	join := func(ctx int) (out string) {
		o := sftOptions(t, p, "concat", "truncate", 130)
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if ctx == 0 { // example by example
			pad := o
			pad.Pack = "pad"
			if s, err = Open(t.Context(), pad); err != nil {
				t.Fatal(err)
			}
		}
		for i := range s.Rows() {
			out += spell(t, s.Row(i))
		}
		return out
	}
	rows, whole := join(130), join(0)
	if n := len(whole) / 130 * 130; rows != whole[:n] {
		t.Errorf("the stream\n%s is not\n%s", rows, whole[:n])
	}
}

// No row is too full, every example lies in exactly one, and no two rows could have been one.
func TestFirstFit(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		var w []member
		for d := range 1 + r.IntN(200) {
			w = append(w, member{d, 1 + r.IntN(100)})
		}
		size := map[int]int{}
		for _, m := range w {
			size[m.d] = m.n
		}
		rows := firstFit(w, 100)
		seen, first := 0, -1
		var full []int
		for _, row := range rows {
			sum := 0
			for _, d := range row {
				sum += size[d]
			}
			if seen += len(row); sum > 100 || !slices.IsSorted(row) || row[0] <= first {
				t.Fatalf("row %v of %d tokens", row, sum)
			}
			first = row[0]
			full = append(full, sum)
		}
		slices.Sort(full)
		if seen != len(size) || len(full) > 1 && full[0]+full[1] <= 100 {
			t.Fatalf("%d of %d examples, fillings %v", seen, len(size), full)
		}
	}
}

// Weights, the held-out rows and the order cover sources of different packs in one set.
func TestMixedSources(t *testing.T) {
	text := write(t, "a.txt", strings.Repeat("x", 98))
	o := sftOptions(t, sft(t, [2]int{3, 2}, [2]int{1, 1}), "auto", "drop", 10)
	o.Paths = append(o.Paths, text+":0.5")
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Rows() != 12 || !s.Cut() || !reflect.DeepEqual(s.Packs(), []string{"cut", "concat"}) || NewOrder(s, 0, true).Rows() != 7 {
		t.Errorf("%d rows, %v, %d an epoch", s.Rows(), s.Packs(), NewOrder(s, 0, true).Rows())
	}
	seen := map[int]bool{}
	order := NewOrder(s, 5, true)
	for i := range int64(7) {
		seen[order.Row(i)] = true
	}
	if len(seen) != 7 || !seen[0] || !seen[1] {
		t.Errorf("an epoch has the rows %v", seen)
	}
}
