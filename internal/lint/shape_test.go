package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// What can be seen whole can be read: functions of at most 110 lines, files of at most 500, lines of at most 120
// columns, a tab being one. Of those some may be longer: formulas, addresses, tables and expressions that no break helps.
func TestCodeIsReadable(t *testing.T) {
	const function, file, columns, longLines = 110, 500, 120, 9
	var long []string
	walk(t, func(_, path string, test bool) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		if len(lines) > file {
			t.Errorf("%s has %d lines, at most %d: part it by what it is about", path, len(lines), file)
		}
		for _, line := range lines {
			if !test && utf8.RuneCountInString(line) > columns {
				long = append(long, path)
			}
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, b, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1; n > function {
				t.Errorf("%s: %s has %d lines, at most %d", path, fn.Name.Name, n, function)
			}
		}
	})
	if len(long) > longLines {
		t.Errorf("%d lines have more than %d columns, at most %d may: %v", len(long), columns, longLines, long)
	}
}
