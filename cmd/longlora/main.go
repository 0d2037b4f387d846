// Command longlora extends the context of LLaMA-family models by LongLoRA fine-tuning.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/ui"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		<-again
		os.Exit(int(errs.Interrupted))
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	stderr = ui.NewVisible(stderr)
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(stderr, "longlora: internal error: %v\nPlease report it with the command line and what LONGLORA_DEBUG=1 prints.\n", r)
			if os.Getenv("LONGLORA_DEBUG") != "" {
				fmt.Fprintf(stderr, "%s", debug.Stack())
			}
			code = int(errs.Internal)
		}
	}()
	root := newRoot()
	root.SetArgs(args)
	if _, ok := ui.Terminal(stdout); ok { // elsewhere results go out as they are
		stdout = ui.NewVisible(stdout)
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var kind *errs.Error
	if !errors.As(err, &kind) && !isComputed(err) {
		err = errs.Usagef("%w", err)
	}
	fmt.Fprintf(stderr, "longlora: %s\n", errs.Plain(err))
	return errs.Code(err)
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
		Use:           "longlora COMMAND",
		Short:         "Extend the context of LLaMA-family models by LongLoRA fine-tuning",
		Long:          "Extend the context of LLaMA-family models by LongLoRA fine-tuning: shifted sparse attention, LoRA,\ntrainable embedding and norms. Reads and writes ordinary Hugging Face checkpoints and PEFT adapters.",
		Example:       "# evaluate, train, merge, evaluate again and report, all in one\nlonglora extend --model meta-llama/Llama-2-7b-hf --data books/ --ctx 16384 --out extended\n\n# first: will it fit?\nlonglora plan --model meta-llama/Llama-2-7b-hf --ctx 16384",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cobra.EnableCommandSorting = false
	root.AddCommand(commands()...)
	root.SetHelpFunc(help)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		s := err.Error()
		var invalid *pflag.InvalidValueError
		if errors.As(err, &invalid) {
			return errs.Usagef("%s: --%s %s: %s", c.Name(), invalid.GetFlag().Name, invalid.GetValue(), config.Unfit(invalid.GetFlag(), errors.Unwrap(err)))
		}
		if name, ok := strings.CutPrefix(s, "unknown flag: --"); ok {
			s += config.Suggest(c.Flags(), name)
		} else if _, name, ok := strings.Cut(s, "unknown shorthand flag: "); ok { // as Go and PyTorch programs take them: -ctx
			_, name, _ = strings.Cut(name, " in -")
			s += config.Suggest(c.Flags(), name)
		}
		return errs.Usagef("%s: %s", c.Name(), s)
	})
	return root
}
