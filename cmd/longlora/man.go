package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/proc"
)

func newMan() *cobra.Command {
	return command("man --out DIR", "Write the manual pages",
		`Write the manual pages, longlora.1 and one for each command, for man(1).`,
		`# for this user; then: man longlora-train
longlora man --out ~/.local/share/man/man1

# look at one without installing it
longlora man --out pages && man pages/longlora-train.1`,
		func(c *cobra.Command, v *cli.Values) error {
			if err := v.Ready("out"); err != nil {
				return err
			}
			out := v.Out()
			files, err := writeMan(c.Root(), out)
			if err != nil {
				return err
			}
			if v.JSON() {
				return document(c.OutOrStdout(), map[string]any{"files": files})
			}
			fmt.Fprintf(c.OutOrStdout(), "%d pages: %s\n", len(files), out)
			return nil
		})
}

// writeMan writes a page for the program and for each of its commands.
func writeMan(root *cobra.Command, dir string) (files []string, err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, errs.Dataf("--out: %w", err)
	}
	for _, c := range append([]*cobra.Command{root}, own(root)...) {
		path := filepath.Join(dir, pageName(c)+".1")
		if b, err := os.ReadFile(path); err == nil && !strings.HasPrefix(string(b), pageHead(c)) {
			return nil, errs.Usagef("--out: %s is no page of this program, and is not overwritten: move it away", path)
		}
		if err := os.WriteFile(path, []byte(manPage(c)), 0o666); err != nil {
			return nil, errs.Dataf("--out: %w", err)
		}
		files = append(files, path)
	}
	return files, nil
}

// own are the program's commands but those that cobra adds.
func own(root *cobra.Command) (out []*cobra.Command) {
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "completion" {
			out = append(out, c)
		}
	}
	return out
}

// pageName is a command's page, as man asks for it.
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// pageHead is how a command's page begins, whichever version wrote it.
func pageHead(c *cobra.Command) string { return fmt.Sprintf(".TH %s 1 ", strings.ToUpper(pageName(c))) }

// manPage is a command's page in man(7)'s macros.
func manPage(c *cobra.Command) string {
	var b strings.Builder
	name := pageName(c)
	fmt.Fprintf(&b, "%s\"\" \"longlora %s\" \"longlora manual\"\n", pageHead(c), proc.Version())
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n%s\n.SH DESCRIPTION\n%s\n", name, roff(c.Short), roff(c.UseLine()),
		roff(c.Long))
	if !c.HasParent() {
		b.WriteString(".SH COMMANDS\n")
		for _, s := range own(c) {
			fmt.Fprintf(&b, ".TP\n.BR longlora\\-%s (1)\n%s\n", s.Name(), roff(s.Short))
		}
	}
	fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n.SH OPTIONS\n", roff(c.Example))
	for _, s := range sections(c) {
		fmt.Fprintf(&b, ".SS %s\n", s.title)
		for _, f := range s.flags {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(written(c.Name(), f)), roff(described(f)))
		}
	}
	fmt.Fprintf(&b, ".SH ENVIRONMENT\n%s\n.SH EXIT STATUS\n%s", roff("LONGLORA_ and an option's name, as "+
		"LONGLORA_MAX_GRAD_NORM, gives the option where no flag does."), roff(exitCodes))
	if c.HasParent() {
		b.WriteString(".SH SEE ALSO\n.BR longlora (1)\n")
	}
	return b.String()
}

// roff writes a text so that nothing of it is taken for a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
