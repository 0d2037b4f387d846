package dist

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"longlora/internal/errs"
	"longlora/internal/ui"
)

// What a launched process finds open.
const (
	lifeline   = 3 // ends when the launcher does
	rankSocket = 4 // of rank 0: what it listens on
)

// Launch starts a group of processes of one program on this machine, and watches them.
type Launch struct {
	Size           int
	Program        string
	Args           []string // with the name that the program goes by
	Stdout, Stderr *os.File // rank 0's own; of the others, each line goes to Stderr with their rank before it
	Log            io.Writer
}

// child is a process that was started.
type child struct {
	rank int
	cmd  *exec.Cmd
	err  error
}

// killAfter is how long the others may take to end once a process has failed. By then they have found out themselves.
const killAfter = 5 * time.Second

// mostProcesses of one machine are started, or one a core where it has more. Each is connected with every other, and
// where dozens share a core some do not get to answer the others in time, who then take them for dead.
const mostProcesses = 32

// CheckSize refuses more processes than this machine runs.
func CheckSize(n int) error {
	if most := max(mostProcesses, runtime.NumCPU()); n > most {
		return errs.Usagef("%s %d: this machine has %s, which run at most %d processes that wait for each other; give at "+
			"most so many", errs.Option("gpus"), n, ui.Count(runtime.NumCPU(), "core"), most)
	}
	return nil
}

// askEvery is how often processes are asked to stop until they do: one that has just begun does not hear it.
const askEvery = 100 * time.Millisecond

// Run starts the processes and waits for their end. A ctx that ends has them stop. The error's kind is the exit code of
// the process that failed first, 1 where a signal killed it.
func (l Launch) Run(ctx context.Context) error {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the ranks: %w", err)
	}
	defer func() { _ = socket.Close() }()
	file, err := socket.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("listening for the ranks: %w", err)
	}
	defer func() { _ = file.Close() }()
	life, end, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the ranks: %w", err)
	}
	defer func() { _, _ = life.Close(), end.Close() }()
	var lines sync.WaitGroup
	children, ends := []*child{}, make(chan *child, l.Size)
	env := l.environment(socket.Addr().(*net.TCPAddr).Port)
	for r := range l.Size {
		c := &child{rank: r, cmd: &exec.Cmd{Path: l.Program, Args: l.Args}}
		c.cmd.Env = append(env, fmt.Sprint("RANK=", r), fmt.Sprint("LOCAL_RANK=", r))
		c.cmd.ExtraFiles = []*os.File{life}
		c.cmd.Stdout, c.cmd.Stderr = l.Stdout, l.Stderr
		if r == 0 {
			c.cmd.ExtraFiles = append(c.cmd.ExtraFiles, file)
		} else {
			out := l.prefixed(r, &lines)
			defer func() { _ = out.Close() }()
			c.cmd.Stdout, c.cmd.Stderr = out, out
		}
		if err := c.cmd.Start(); err != nil {
			for _, c := range children {
				_ = c.cmd.Process.Kill()
			}
			return fmt.Errorf("starting rank %d: %w", r, err)
		}
		children = append(children, c)
		go func() {
			c.err = c.cmd.Wait()
			ends <- c
		}()
	}
	err = l.watch(ctx, children, ends)
	for _, c := range children[1:] {
		_ = c.cmd.Stderr.(*os.File).Close()
	}
	lines.Wait()
	return err
}

// environment is what all processes find in their environment, but for their rank.
func (l Launch) environment(port int) []string {
	var env []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if name != TokenVariable && !strings.HasPrefix(name, "TORCHELASTIC_") {
			env = append(env, pair)
		}
	}
	return append(env, fmt.Sprint("WORLD_SIZE=", l.Size), "MASTER_ADDR=127.0.0.1", fmt.Sprint("MASTER_PORT=", port),
		launchVariable+"="+rand.Text())
}

// prefixed is a file whose lines come out with a rank before them.
func (l Launch) prefixed(rank int, wg *sync.WaitGroup) *os.File {
	r, w, err := os.Pipe()
	if err != nil {
		return l.Stderr // its lines come without the rank
	}
	wg.Go(func() {
		defer func() { _ = r.Close() }()
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadString('\n')
			if line != "" {
				fmt.Fprintf(l.Log, "rank %d: %s\n", rank, strings.TrimSuffix(line, "\n"))
			}
			if err != nil {
				return
			}
		}
	})
	return w
}

// watch waits for all to end. The first that fails decides what the group ends with.
func (l Launch) watch(ctx context.Context, children []*child, ends <-chan *child) error {
	again := make(chan os.Signal, 4)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	each := func(signals ...os.Signal) {
		for _, c := range children {
			for _, s := range signals {
				_ = c.cmd.Process.Signal(s) // an error says that it has ended
			}
		}
	}
	asked := ctx.Done()
	demands, kill, ask := 0, (<-chan time.Time)(nil), (<-chan time.Time)(nil)
	var first error
	killed := false // by us
	for left := len(children); left > 0; {
		select {
		case <-asked:
			asked = nil
			ask = time.Tick(askEvery)
		case <-ask: // by what never demands: they may have had the terminal's signal too
			each(syscall.SIGUSR1)
		case <-again:
			if demands++; demands > 1 {
				each(os.Interrupt, syscall.SIGTERM)
			}
		case <-kill:
			killed = true
			each(os.Kill)
		case c := <-ends:
			left--
			if c.err == nil || first != nil && (killed || !missedAnother(first) || !signaled(c)) {
				continue
			}
			if first = l.fault(c, ctx.Err() != nil); errs.Code(first) != int(errs.Interrupted) {
				kill = time.After(killAfter)
			} else {
				ask = time.Tick(askEvery) // it may have been asked before it had met the others
			}
		}
	}
	return first
}

// missedAnother reports whether a process may have failed because another had gone.
func missedAnother(err error) bool { return errs.Code(err) == int(errs.Internal) }

// signaled reports whether a process was ended by a signal. Those that miss it may be seen to end before it.
func signaled(c *child) bool {
	var exit *exec.ExitError
	if !errors.As(c.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// fault is the error of a process that failed. One that ended by itself has said why.
func (l Launch) fault(c *child, asked bool) error {
	var exit *exec.ExitError
	status, ok := syscall.WaitStatus(0), false
	if errors.As(c.err, &exit) {
		status, ok = exit.Sys().(syscall.WaitStatus)
	}
	e := &Ended{Rank: c.rank, Code: int(errs.Internal)}
	switch {
	case ok && status.Exited():
		e.Code, e.Told = status.ExitStatus(), true
		e.Text = fmt.Sprintf("rank %d ended with code %d", c.rank, e.Code)
	case ok && (asked || status.Signal() == syscall.SIGTERM || status.Signal() == os.Interrupt): // before it minded them
		e.Code = int(errs.Interrupted)
		e.Text = "interrupted"
	case ok:
		e.Text = fmt.Sprintf("rank %d (process %d) was killed by a signal (%s); the other ranks were ended. The same "+
			"command goes on from the last checkpoint", c.rank, c.cmd.Process.Pid, status.Signal())
	default:
		e.Text = fmt.Sprintf("rank %d: %v", c.rank, c.err)
	}
	return e.err()
}

// prefix is a writer that writes whole lines with a rank before each.
type prefix struct {
	w    io.Writer
	rank int
	mu   sync.Mutex
	rest []byte
}

// Prefixed is a writer to w whose lines have a rank before them, as those of launched processes have.
func Prefixed(w io.Writer, rank int) io.Writer { return &prefix{w: w, rank: rank} }

func (p *prefix) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, b...)
	for {
		line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		if _, err := fmt.Fprintf(p.w, "rank %d: %s\n", p.rank, line); err != nil {
			return 0, err
		}
		p.rest = rest
	}
}

// Bound has a process that Launch started call ended once its launcher is gone.
func (p Place) Bound(ended func()) {
	if !p.Launched {
		return
	}
	syscall.CloseOnExec(lifeline)
	f := os.NewFile(lifeline, "launcher")
	go func() {
		_, _ = f.Read(make([]byte, 1)) // nothing is ever written
		ended()
	}()
}

// launchedListener is what rank 0 of a launch listens on.
func launchedListener() (net.Listener, error) {
	f := os.NewFile(rankSocket, "socket "+strconv.Itoa(rankSocket))
	defer func() { _ = f.Close() }()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, errs.Usagef("%s is for the processes that %s starts, and is not to be set: %w", launchVariable,
			errs.Option("gpus"), err)
	}
	return l, nil
}
