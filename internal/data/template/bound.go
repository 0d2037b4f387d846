package template

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	texttemplate "text/template"
	"text/template/parse"

	"longlora/internal/data/example"
)

// A template file is a program: its loops and the templates in it may ask for any amount of work or text. It may spend
// so many bytes an example, and so many for each byte of the example's texts: a byte that it writes or makes counts
// one, a node that it goes through nodeCost, a round of a loop or a call of a template roundCost.
const (
	textAllowance = 64
	nodeCost      = 16
	roundCost     = 256
	maxLoops      = 64 // in a file; deeply nested ones take long to leave
)

var baseAllowance = 64 << 20

// allowance is what a template may spend on an example.
func allowance(e *example.Example) int {
	n := baseAllowance
	for _, m := range e.Messages {
		n += textAllowance * len(m.Content)
	}
	return n
}

var errSpent = errors.New("too much")

// spend counts work of n bytes.
func (m *marker) spend(n int) error {
	if n < 0 || n > m.left {
		m.left = -1
		return errSpent
	}
	m.left -= n
	return nil
}

// spendName is the function that bound puts into a template.
const spendName = "spend"

// bounded are the functions of text/template that make texts as long as they are asked to, each counted first.
func (m *marker) bounded() texttemplate.FuncMap {
	counted := func(f func(a ...any) string) func(a ...any) (string, error) {
		return func(a ...any) (string, error) {
			if err := m.spend(lengthOf(a)); err != nil {
				return "", err
			}
			return f(a...), nil
		}
	}
	return texttemplate.FuncMap{
		spendName: func(n int) (string, error) { return "", m.spend(n) },
		"print":   counted(fmt.Sprint), "println": counted(fmt.Sprintln),
		"html": counted(texttemplate.HTMLEscaper), "js": counted(texttemplate.JSEscaper),
		"urlquery": counted(texttemplate.URLQueryEscaper),
		"printf": func(format string, a ...any) (string, error) {
			if err := m.spend(lengthOf(a) + len(format) + widths(format, a)); err != nil {
				return "", err
			}
			return fmt.Sprintf(format, a...), nil
		},
	}
}

// lengthOf is at least what values become as text, escaped; for other values than texts a guess.
func lengthOf(a []any) int {
	const longest = 6 // bytes that escaping makes of one
	n := 0
	for _, v := range a {
		switch x := v.(type) {
		case string:
			n += longest * len(x)
		case []example.Message:
			for _, m := range x {
				n += longest * (len(m.Role) + len(m.Content) + nodeCost)
			}
		case example.Message:
			n += longest * (len(x.Role) + len(x.Content) + nodeCost)
		default:
			n += longest * nodeCost
		}
	}
	return n
}

// widths are the columns that a format asks for.
func widths(format string, a []any) int {
	const widest = 1 << 20 // fmt refuses more than a million
	n := 0
	for _, digits := range strings.FieldsFunc(format, func(r rune) bool { return r < '0' || r > '9' }) {
		if w, err := strconv.Atoi(digits); err == nil { // fmt refuses others too
			n += min(w, widest)
		}
	}
	if strings.Contains(format, "*") {
		for _, v := range a {
			if w, ok := v.(int); ok {
				n += min(max(w, -w), widest)
			}
		}
	}
	return n
}

// bound refuses templates that name what no data has, or that call themselves, and makes the others count what they do
// wherever they may do it again: in loops and in the templates that they call.
func bound(t *texttemplate.Template) error {
	roots := map[string]*parse.ListNode{}
	for _, x := range t.Templates() {
		if x.Tree == nil || x.Root == nil {
			continue
		}
		if f := unknownField(x.Root); f != "" {
			return fmt.Errorf("unknown field .%s; known are .%s", f, strings.Join(fileFields, ", ."))
		}
		roots[x.Name()] = x.Root
	}
	loops := 0
	for _, root := range roots {
		loops += loopsIn(root)
	}
	if loops > maxLoops {
		return fmt.Errorf("%d loops; at most %d may stand in a template file", loops, maxLoops)
	}
	done := map[string]bool{}
	for name := range roots {
		if again := callsItself(name, roots, nil, done); again != "" {
			return fmt.Errorf("the template %q calls itself, which need not end", again)
		}
	}
	for _, root := range roots {
		count(root, weigh(root))
	}
	return nil
}

// loopsIn counts the loops at or below a node.
func loopsIn(n parse.Node) int {
	loops := 0
	if n.Type() == parse.NodeRange {
		loops++
	}
	for _, c := range children(n) {
		loops += loopsIn(c)
	}
	return loops
}

// callsItself follows the templates that a template calls; above are those that it is called from.
func callsItself(name string, roots map[string]*parse.ListNode, above []string, done map[string]bool) string {
	switch root := roots[name]; {
	case slices.Contains(above, name):
		return name
	case root == nil || done[name]:
		return ""
	default:
		above = append(above, name)
		for _, c := range called(root) {
			if again := callsItself(c, roots, above, done); again != "" {
				return again
			}
		}
		done[name] = true
		return ""
	}
}

// called are the templates that a node calls.
func called(n parse.Node) (out []string) {
	if t, ok := n.(*parse.TemplateNode); ok {
		out = append(out, t.Name)
	}
	for _, c := range children(n) {
		out = append(out, called(c)...)
	}
	return out
}

// weigh is the cost of going through a node once, without its loops, which count themselves.
func weigh(n parse.Node) int {
	cost := nodeCost
	for _, c := range children(n) {
		if r, ok := n.(*parse.RangeNode); ok && c == parse.Node(r.List) {
			count(r.List, weigh(c))
			continue
		}
		cost += weigh(c)
	}
	return cost
}

// count puts the counting of a list's cost in front of it.
func count(list *parse.ListNode, cost int) {
	tree, err := parse.Parse("", fmt.Sprintf("{{%s %d}}", spendName, roundCost+cost), "", "",
		map[string]any{spendName: true})
	if err != nil {
		panic(err) // the text is ours
	}
	list.Nodes = slices.Insert(list.Nodes, 0, tree[""].Root.Nodes[0])
}

// unknownField is the first field of a template that no data has, "" without any.
func unknownField(n parse.Node) string {
	var names []string
	switch x := n.(type) {
	case *parse.FieldNode:
		names = x.Ident
	case *parse.VariableNode:
		names = x.Ident[1:]
	case *parse.ChainNode:
		names = x.Field
	}
	for _, f := range names {
		if !slices.Contains(fileFields, f) {
			return f
		}
	}
	for _, c := range children(n) {
		if f := unknownField(c); f != "" {
			return f
		}
	}
	return ""
}

// children are the nodes directly below a node.
func children(n parse.Node) (out []parse.Node) {
	pipe := func(p *parse.PipeNode) {
		if p != nil {
			out = append(out, p)
		}
	}
	branch := func(b *parse.BranchNode) {
		pipe(b.Pipe)
		for _, l := range []*parse.ListNode{b.List, b.ElseList} {
			if l != nil {
				out = append(out, l)
			}
		}
	}
	switch x := n.(type) {
	case *parse.ListNode:
		return x.Nodes
	case *parse.ActionNode:
		pipe(x.Pipe)
	case *parse.IfNode:
		branch(&x.BranchNode)
	case *parse.RangeNode:
		branch(&x.BranchNode)
	case *parse.WithNode:
		branch(&x.BranchNode)
	case *parse.TemplateNode:
		pipe(x.Pipe)
	case *parse.PipeNode:
		for _, c := range x.Cmds {
			out = append(out, c)
		}
	case *parse.CommandNode:
		return x.Args
	case *parse.ChainNode:
		out = append(out, x.Node)
	}
	return out
}
