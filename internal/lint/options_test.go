package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"

	"longlora/internal/cli"
)

// flag is an option as a command line has it.
var flag = regexp.MustCompile(`--[a-z][a-z-]+`)

// Below the command line no text knows how an option is written: messages name it by errs.Option, so that cli can say what
// gave the value, a flag, a variable or a file, and so that an option that does not exist is found here.
func TestOptionsEndAtTheCommandLine(t *testing.T) {
	var known []string
	for _, c := range cli.Commands() {
		known = append(known, cli.NamesOf(c)...)
	}
	walk(t, func(dir, path string, test bool) {
		if test || !strings.HasPrefix(dir, "internal/") || strings.HasPrefix(dir, "internal/testkit") || dir == "internal/cli" {
			return
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				// other programs have options too, and style sheets have variables
				own := strings.NewReplacer("docker run --gpus", "", "--local-dir", "", "--repo-type", "", "--revision", "", "var(--", "").Replace(n.Value)
				if m := flag.FindString(own); n.Kind == token.STRING && m != "" {
					t.Errorf("%s: a text names %s; name it by errs.Option(%q)", files.Position(n.Pos()), m, m[2:])
				}
			case *ast.CallExpr:
				if name := optionOf(n); name != "" && !slices.Contains(known, name) {
					t.Errorf("%s: errs.Option(%q): there is no such option", files.Position(n.Pos()), name)
				}
			}
			return true
		})
	})
}

// optionOf is the name in errs.Option("name"), "" in another expression.
func optionOf(c *ast.CallExpr) string {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Option" || len(c.Args) != 1 {
		return ""
	}
	if lit, ok := c.Args[0].(*ast.BasicLit); ok {
		return strings.Trim(lit.Value, `"`)
	}
	return ""
}
