package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/report"
	"longlora/internal/rundir"
)

func newReport() *cobra.Command {
	c := command("report DIR", "Write the HTML report of a run or of eval's results",
		`Write one HTML page that shows what a run brought, in curves, tables and words. It needs no network and no other file.
DIR is the folder of a training run, of extend, or of eval --out.`,
		`# run/report.html, also while the run still goes on
longlora report run

# a page to send to somebody
longlora report extended --out extended.html`,
		func(c *cobra.Command, v *cli.Values) error {
			if err := v.Ready(); err != nil {
				return err
			}
			dir, out := c.Flags().Arg(0), v.Out()
			// A shared file's out is another command's folder, so only the flag counts.
			if !c.Flags().Changed("out") {
				out = filepath.Join(dir, rundir.PageFile)
			}
			return writeReport(c, dir, out, v.JSON())
		})
	c.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return errs.Usagef("report: %d folders given; name one: that of a training run, of extend, or of eval --out",
				len(args))
		}
		return nil
	}
	return c
}

func writeReport(c *cobra.Command, dir, out string, json bool) error {
	p, err := report.Dir(dir, c.ErrOrStderr())
	if err == nil {
		err = p.Write(out)
	}
	if err != nil {
		return err
	}
	if json {
		return document(c.OutOrStdout(), map[string]string{"out": out})
	}
	fmt.Fprintln(c.OutOrStdout(), out)
	return nil
}
