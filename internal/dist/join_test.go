package dist

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"longlora/internal/errs"
)

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// A rank that does not belong to the group is turned away by what is wrong with it, and where the group can then not be
// made all are told.
func TestTurnedAway(t *testing.T) {
	t.Setenv(JoinVariable, "2")
	for name, c := range map[string]struct {
		change func(p *Place, build *string)
		others string // what rank 0 says
		own    string // what the rank says
	}{
		"another build":    {func(_ *Place, build *string) { *build = "2" }, "another build", "another build"},
		"another size":     {func(p *Place, _ *string) { p.Size = 3 }, "told of 3 ranks", "told of 3 ranks"},
		"no rank":          {func(p *Place, _ *string) { p.Rank, p.Size = 2, 2 }, "rank 1 of 2 did not come", "no rank 2"},
		"another job":      {func(p *Place, _ *string) { p.Token = []byte("other") }, "another job", "another job"},
		"an unknown name":  {func(p *Place, _ *string) { p.Addr = "nowhere.invalid" }, "rank 1 of 2 did not come", "nowhere.invalid"},
		"another port":     {func(p *Place, _ *string) { p.Port, p.Ports = 1, 1 }, "rank 1 of 2 did not come", "127.0.0.1:1: connection refused"},
		"too large a rank": {func(p *Place, _ *string) { p.Rank = 5 }, "rank 1 of 2 did not come", "no rank 5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			var wg sync.WaitGroup
			var zero, one error
			wg.Go(func() { _, zero = meet(t, 0, 2, port, nil) })
			wg.Go(func() { _, one = meet(t, 1, 2, port, c.change) })
			wg.Wait()
			for who, x := range map[string]struct {
				err  error
				want string
			}{"rank 0": {zero, c.others}, "the other": {one, c.own}} {
				if errs.Code(x.err) != 2 || !strings.Contains(x.err.Error(), x.want) {
					t.Errorf("%s: %v, want %q", who, x.err, x.want)
				}
			}
		})
	}
}

// What else calls at rank 0's port holds nobody up: strangers, garbage, half of a handshake, silence, a length beyond
// all bounds, and a second holder of a rank.
func TestStrangers(t *testing.T) {
	port := freePort(t)
	var log lockedBuffer
	done := make(chan error, 1)
	go func() {
		p := Place{By: "a test", Size: 2, Addr: "127.0.0.1", Port: port, Ports: 4, Token: []byte("a job")}
		j, err := Join(t.Context(), p, "1", &log, func() {}, func(error) {})
		if err == nil {
			quit(j)
		}
		done <- err
	}()
	var open []net.Conn
	for _, say := range []string{"GET / HTTP/1.1\r\n\r\n" + strings.Repeat("x", 100), "", magic, magic + strings.Repeat("n", 32),
		magic + strings.Repeat("n", 32) + "\xff\xff\xff\xff\x01", magic + strings.Repeat("n", 32) + "\x05\x00\x00\x00\x01hello"} {
		c := dial(t, port)
		if _, err := c.Write([]byte(say)); err != nil {
			t.Error(err)
		}
		open = append(open, c)
	}
	j, err := meet(t, 1, 2, port, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	quit(j)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := log.String(); !strings.Contains(s, "it does not speak as one") || !strings.Contains(s, "belongs to another job") {
		t.Errorf("log: %s", s)
	}
	for _, c := range open {
		_ = c.Close()
	}
}

func dial(t *testing.T, port int) net.Conn {
	t.Helper()
	for range 200 {
		if c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			return c
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nobody listens")
	return nil
}

// lockedBuffer is a log that goroutines share.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A rank that is gone before all are there ends the rendezvous.
func TestGoneEarly(t *testing.T) {
	port := freePort(t)
	go func() {
		p := Place{By: "a test", Rank: 1, Size: 3, Addr: "127.0.0.1", Port: port, Ports: 1, Token: []byte("a job")}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		m := meeting{place: p, me: Hello{Rank: 1, Size: 3, Build: "1", PID: 99}, log: io.Discard, until: time.Now().Add(time.Minute)}
		if c, err := m.reach(ctx); err == nil {
			_ = c.Close()
		}
	}()
	_, err := meet(t, 0, 3, port, nil)
	if errs.Code(err) != 2 || !strings.Contains(err.Error(), "process 99) ended before all ranks were there") {
		t.Error(err)
	}
}

// Ranks know each other's devices, and refuse what can not work together.
func TestIntroduce(t *testing.T) {
	jobs := joined(t, 3)
	say := func(devices, versions []string) []error {
		out := make([]error, 3)
		var wg sync.WaitGroup
		for r, j := range jobs {
			wg.Go(func() { out[r] = j.Introduce(devices[r], versions[r]) })
		}
		wg.Wait()
		return out
	}
	must(t, say([]string{"a", "b", "a"}, []string{"2.30.7", "2.30.9", "2.30.7"}))
	for r, want := range []int{2, 1, 2} {
		if machine, card := jobs[r].Cards(); machine != 3 || card != want {
			t.Errorf("rank %d: %d on its machine, %d on its card", r, machine, card)
		}
	}
	if n := jobs[0].Machines(); n != 1 {
		t.Errorf("%d machines", n)
	}
	for r, err := range say([]string{"a", "b", "c"}, []string{"2.30.7", "2.30.7", ""}) {
		if errs.Code(err) != 2 || !strings.Contains(err.Error(), "rank 2") || !strings.Contains(err.Error(), "has NCCL none") {
			t.Errorf("rank %d: %v", r, err)
		}
	}
}

// Two processes that both hold a rank: the first stays, the second is told who has it.
func TestTwice(t *testing.T) {
	port := freePort(t)
	var wg sync.WaitGroup
	jobs, all := make([]*Job, 4), make([]error, 4)
	begin := func(i, rank int) { wg.Go(func() { jobs[i], all[i] = meet(t, rank, 3, port, nil) }) }
	begin(0, 0)
	begin(1, 1)
	begin(2, 1)
	time.Sleep(300 * time.Millisecond)
	begin(3, 2)
	wg.Wait()
	if (all[1] == nil) == (all[2] == nil) || all[0] != nil || all[3] != nil {
		t.Fatalf("%v", all)
	}
	if err := all[1]; err == nil {
		err = all[2]
		if errs.Code(err) != 2 || !strings.Contains(err.Error(), "there is a rank 1 already") {
			t.Error(err)
		}
	}
	for _, j := range jobs {
		if j != nil {
			quit(j)
		}
	}
}

// Ports that others hold are passed over, by rank 0 and by those who look for it; one port alone that is held is named.
func TestHeldPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() { // it says nothing that a rank would
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 mail\r\n" + strings.Repeat("-", 60)))
			_ = c.Close()
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	var wg sync.WaitGroup
	for r := range 2 {
		wg.Go(func() {
			j, err := meet(t, r, 2, port, nil)
			if err != nil {
				t.Error(err)
				return
			}
			quit(j)
		})
	}
	wg.Wait()
	_, err = meet(t, 0, 2, port, func(p *Place, _ *string) { p.Ports = 1 })
	if errs.Code(err) != 2 || !strings.Contains(err.Error(), fmt.Sprint("port ", port)) {
		t.Error(err)
	}
}

// A rank on IPv6.
func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	var wg sync.WaitGroup
	for r := range 3 {
		wg.Go(func() {
			j, err := meet(t, r, 3, port, func(p *Place, _ *string) { p.Addr = "::1" })
			if err != nil {
				t.Error(err)
				return
			}
			if err := j.Barrier(); err != nil {
				t.Error(err)
			}
			_ = j.End(nil)
		})
	}
	wg.Wait()
}

// A caller learns nothing from who does not know the token, and neither lets the other in.
func TestHandshake(t *testing.T) {
	a, b := net.Pipe()
	errs := make(chan error, 1)
	go func() {
		_, err := answer(b, []byte("one"), Hello{}, func(Hello) string { t.Error("let in"); return "" })
		errs <- err
	}()
	if _, err := call(a, []byte("two"), Hello{Rank: 1}); err != errOther {
		t.Error(err)
	}
	if err := <-errs; err != errOther {
		t.Error(err)
	}
	// who answers without the token is not believed
	a, b = net.Pipe()
	go func() {
		var hello [len(magic) + 32]byte
		_, _ = io.ReadFull(b, hello[:])
		_, _ = b.Write(hello[:])
		_, _, _ = readFrame(b, mostHello)
		_ = writeFrame(b, frameWelcome, bytes.Repeat([]byte{1}, 60))
	}()
	if _, err := call(a, []byte("two"), Hello{Rank: 1}); err != errOther {
		t.Error(err)
	}
}

// No bytes make reading a frame fail in another way than by an error, nor take more than they are.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 6, 42})
	f.Add([]byte{255, 255, 255, 255, 6})
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, body, err := readFrame(bytes.NewReader(b), 1000)
		if err != nil {
			return
		}
		var w bytes.Buffer
		if err := writeFrame(&w, kind, body); err != nil || !bytes.HasPrefix(b, w.Bytes()) {
			t.Errorf("%v: %v, %v", b, w.Bytes(), err)
		}
		var list []Hello
		_ = readPeers(body, 2, &list)
	})
}

func TestMain(m *testing.M) {
	for _, name := range []string{JoinVariable, TokenVariable} {
		_ = os.Unsetenv(name)
	}
	os.Exit(m.Run())
}
