// Command longlora extends the context of LLaMA-family models by LongLoRA fine-tuning.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/par"
	"longlora/internal/proc"
	"longlora/internal/ui"
)

func main() {
	ctx := proc.Context(context.Background(), func() {
		go fmt.Fprintln(os.Stderr, "longlora: interrupted") // who should read it may have stopped to
		time.Sleep(50 * time.Millisecond)
		os.Exit(int(errs.Interrupted))
	})
	stderr := io.Writer(os.Stderr)
	if p := place(); p.Rank > 0 && !p.Launched { // whose launcher knows whose lines they are
		stderr = dist.Prefixed(stderr, p.Rank)
	}
	os.Exit(run(ctx, os.Args[1:], proc.Stdout(), stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	out := proc.NewOutput(stdout)
	stderr = ui.NewVisible(ui.NewBreaking(stderr))
	defer func() {
		if p := par.Recovered(recover()); p != nil {
			code = sayPanic(stderr, p)
		}
	}()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	if _, ok := ui.Terminal(out); ok { // elsewhere results go out as they are
		root.SetOut(ui.NewVisible(out))
	}
	root.SetErr(stderr)
	if p := place(); p.Rank == 0 && !p.Launched { // who started it has said it
		root.PersistentPreRun = func(c *cobra.Command, _ []string) { sayRepeated(c.ErrOrStderr(), c, args) }
	}
	refuseShells(root)
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		completeFlags(root)
	}
	err := refused(root.ExecuteContext(ctx))
	var kind *errs.Error
	switch {
	case err == nil:
		err = out.Fault()
	case errors.Is(err, context.Canceled) && errs.Code(err) != int(errs.Interrupted):
		err = errs.Interruptedf("interrupted")
	case !errors.As(err, &kind) && !isComputed(err):
		err = errs.Usagef("%w", err)
	}
	if err == nil {
		return 0
	}
	if !toldElsewhere(err) {
		fmt.Fprintf(stderr, "longlora: %s\n", errs.Plain(err))
	}
	return errs.Code(err)
}

// refused is an error, and what to do where it says that the system gives no memory: whatever was asked for did not fit.
func refused(err error) error {
	if !errors.Is(err, syscall.ENOMEM) {
		return err
	}
	return errs.NoFitf("%w; raise the limit on memory where there is one (ulimit -v), or lower %s", err,
		errs.Option("host-mem"))
}

// sayPanic writes what a panic says and returns its exit code. An error of a kind that was thrown where nothing could be
// returned, as that the system gives no memory, is no fault of the program.
func sayPanic(stderr io.Writer, p *par.Panic) int {
	var kind *errs.Error
	if err, is := p.Value.(error); is && errors.As(refused(err), &kind) {
		fmt.Fprintf(stderr, "longlora: %s\n", errs.Plain(refused(err)))
	} else {
		kind = &errs.Error{Kind: errs.Internal}
		fmt.Fprintf(stderr, "longlora: internal error: %v\nPlease report it with the command line and what "+
			"LONGLORA_DEBUG=1 prints.\n", p)
	}
	if os.Getenv("LONGLORA_DEBUG") == "1" {
		fmt.Fprintf(stderr, "%s", p.Stack)
	}
	return int(kind.Kind)
}

// computed marks errors that come out of a command's work, not from reading the command line.
type computed struct{ error }

func (c computed) Unwrap() error { return c.error }

func isComputed(err error) bool {
	var c computed
	return errors.As(err, &c)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "longlora COMMAND",
		Short: "Extend the context of LLaMA-family models by LongLoRA fine-tuning",
		Long: "Extend the context of LLaMA-family models by LongLoRA fine-tuning: shifted sparse attention, LoRA,\n" +
			"trainable embedding and norms. Reads and writes ordinary Hugging Face checkpoints and PEFT adapters.",
		Example: "# evaluate, train, merge, evaluate again and report, all in one\n" +
			"longlora extend --model meta-llama/Llama-2-7b-hf --data books/ --ctx 16384 --out extended\n\n" +
			"# first: will it fit?\n" +
			"longlora plan --model meta-llama/Llama-2-7b-hf --ctx 16384",
		Version:       versionLine(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cobra.EnableCommandSorting = false
	root.AddCommand(commands()...)
	root.Flags().Bool("version", false, "print the version and the commit that it was built from")
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetHelpFunc(help)
	root.SetHelpCommand(&cobra.Command{Use: "help [COMMAND]", Short: "Help about any command",
		Long: "What --help says of a command.", RunE: func(c *cobra.Command, of []string) error {
			about, rest, err := root.Find(of)
			if err != nil || len(rest) > 0 {
				return errs.Usagef("help: no command is called %q; longlora --help lists them", strings.Join(of, " "))
			}
			return about.Help()
		}})
	root.SetFlagErrorFunc(flagError)
	return root
}
