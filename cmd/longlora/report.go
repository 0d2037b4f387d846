package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/report"
	"longlora/internal/rundir"
)

func newReport() *cobra.Command {
	c := command("report DIR…", "Write the HTML report of a run or of eval's results, or of runs side by side",
		`Write one HTML page that shows what a run brought, in curves, tables and words. It needs no network and no other
file. DIR is the folder of a training run, of extend, or of eval --out. Two to six runs stand side by side: their
curves, the options in which they differ, and what came of them.`,
		`# run/report.html, also while the run still goes on
longlora report run

# two runs side by side, in ./report.html
longlora report slow fast

# a page to send to somebody
longlora report extended --out extended.html`,
		func(c *cobra.Command, v *cli.Values) error {
			if err := v.Ready(); err != nil {
				return err
			}
			dirs, out := c.Flags().Args(), v.Out()
			// A shared file's out is another command's folder, so only the flag counts.
			if !c.Flags().Changed("out") {
				out = rundir.PageFile
				if len(dirs) == 1 {
					out = filepath.Join(dirs[0], rundir.PageFile)
				}
			}
			return writeReport(c, dirs, out, v.JSON())
		})
	c.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errs.Usagef("report: no folder given; name that of a training run, of extend, or of eval --out")
		}
		if slices.Contains(args, "") {
			return errs.Usagef("report: an empty name for a folder; name that of a training run, of extend, or of eval --out")
		}
		return nil
	}
	return c
}

func writeReport(c *cobra.Command, dirs []string, out string, json bool) error {
	var p *report.Page
	var err error
	if len(dirs) == 1 {
		p, err = report.Dir(dirs[0], c.ErrOrStderr())
	} else {
		p, err = report.Compare(dirs, c.ErrOrStderr())
	}
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
