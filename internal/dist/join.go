package dist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"longlora/internal/errs"
)

// How long ranks wait for each other at the beginning: those of one launch are started at once.
const (
	joinTime   = 5 * time.Minute
	launchTime = 9 * time.Second
)

// resolveTime is how long a name may not resolve: where machines are just being started it comes late.
const resolveTime = 20 * time.Second

// meeting is a rendezvous under way.
type meeting struct {
	place Place
	me    Hello
	log   io.Writer
	data  net.Listener // of this rank, for the data of those after it
	wait  time.Duration
	until time.Time
}

// Join meets the other ranks of the group. log is told what is waited for. asked is called when another rank was asked
// to stop, and is to ask this process; die when the group has failed and this process has not ended by itself in time.
// The Job ends with End.
func Join(ctx context.Context, p Place, build string, log io.Writer, asked func(), die func(error)) (*Job, error) {
	wait := joinTime
	if p.Launched {
		wait = launchTime
	}
	n, has, err := environment(os.Getenv).seconds(JoinVariable, 1)
	if err != nil {
		return nil, err
	} else if has {
		wait = time.Duration(n) * time.Second
	}
	host, _ := os.Hostname()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	m := &meeting{place: p, log: log, wait: wait, until: time.Now().Add(wait)}
	m.me = Hello{Rank: p.Rank, Size: p.Size, Build: build, Host: host,
		ID: host + " " + strings.TrimSpace(string(boot)), PID: os.Getpid()}
	ctx, cancel := context.WithDeadline(ctx, m.until)
	defer cancel()
	if m.data, err = net.Listen("tcp", net.JoinHostPort(p.listens(), "0")); err != nil {
		return nil, fmt.Errorf("listening for the other ranks: %w", err)
	}
	defer func() { _ = m.data.Close() }()
	m.me.Port = m.data.Addr().(*net.TCPAddr).Port
	j := &Job{Place: p, lines: make([]*line, p.Size), asked: asked, die: die}
	if p.Rank == 0 {
		err = m.host(ctx, j)
	} else {
		err = m.visit(ctx, j)
	}
	if err == nil {
		err = m.mesh(ctx, j)
	}
	if err != nil {
		j.hangUp()
		return nil, err
	}
	j.run()
	return j, nil
}

// listens is the address to listen on: this machine's own where all ranks are on it.
func (p Place) listens() string {
	if ip := net.ParseIP(p.Addr); p.Addr == "localhost" || ip != nil && ip.IsLoopback() {
		if ip != nil {
			return ip.String()
		}
		return "127.0.0.1"
	}
	return ""
}

// host is rank 0's rendezvous: it listens until all others are there.
func (m *meeting) host(ctx context.Context, j *Job) error {
	l, err := m.listen()
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	h := &hosting{m: m, j: j, hellos: make([]Hello, m.place.Size), held: make([]bool, m.place.Size)}
	h.hellos[0] = m.me
	go h.tell(ctx, func() { _ = l.Close() })
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		go func() {
			h.receive(c)
			if h.done() {
				_ = l.Close()
			}
		}()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	missing := h.missing()
	switch {
	case h.fatal != nil:
		return h.fatal
	case len(missing) == 0:
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	default:
		return errs.Usagef("%s of %d did not come to %s within %s; they must reach this machine there (%s)%s",
			ranks(missing), m.place.Size, l.Addr(), m.wait, m.place.By, h.strangers())
	}
	for r, line := range j.lines {
		if r > 0 {
			if err := line.send(framePeers, h.hellos); err != nil {
				return fmt.Errorf("%s is gone: %w", h.hellos[r].name(), err)
			}
		}
	}
	j.Hellos = h.hellos
	return nil
}

// listen takes the first free of the place's ports.
func (m *meeting) listen() (net.Listener, error) {
	p := m.place
	if p.Launched {
		return launchedListener()
	}
	var err error
	for i := range p.Ports {
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(p.listens(), strconv.Itoa(p.Port+i))); err == nil {
			return l, nil
		}
	}
	which := fmt.Sprintf("port %d", p.Port)
	if p.Ports > 1 {
		which = fmt.Sprintf("a port from %d to %d", p.Port, p.Port+p.Ports-1)
	}
	return nil, errs.Usagef("rank 0 is to listen on %s (%s), and can not: %w. Another job, or a process that an "+
		"earlier one left, may have it; give another MASTER_PORT", which, p.By, reason(err))
}

// hosting is what rank 0 knows of those who came.
type hosting struct {
	m      *meeting
	j      *Job
	mu     sync.Mutex
	hellos []Hello
	others []string // who knocked and was none of the group's
	held   []bool   // by rank: let in, or about to be
	fatal  error
	over   bool
}

func (h *hosting) missing() (out []int) {
	for r, l := range h.j.lines {
		if r > 0 && l == nil {
			out = append(out, r)
		}
	}
	return out
}

func (h *hosting) done() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fatal != nil || len(h.missing()) == 0
}

// strangers says who came that was none of the group's.
func (h *hosting) strangers() string {
	if len(h.others) == 0 {
		return ""
	}
	return ". Others came: " + strings.Join(h.others, "; ")
}

// receive lets a caller in, or not.
func (h *hosting) receive(c net.Conn) {
	l := &line{Conn: c}
	held := false
	them, err := answer(c, h.m.place.Token, h.m.me, func(them Hello) string {
		why := h.admit(them, c)
		held = why == ""
		return why
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.j.lines[them.Rank] = l
		return
	}
	_ = c.Close()
	var why refused
	switch {
	case errors.As(err, &why):
	case held: // it was let in and is gone
		h.held[them.Rank] = false
	case len(h.others) < 4:
		what := "sent no more within 10 seconds, or hung up"
		switch {
		case errors.Is(err, errOther):
			what = "belongs to another job: its token is another one"
		case errors.Is(err, errFrame):
			what = "is no rank: it does not speak as one"
		}
		said := fmt.Sprintf("%s %s", c.RemoteAddr(), what)
		h.others = append(h.others, said)
		fmt.Fprintf(h.m.log, "warning: who called from %s; it was turned away\n", said)
	}
}

// admit says why a rank of this job is not let in, and ends the rendezvous where it can not succeed any more.
func (h *hosting) admit(them Hello, c net.Conn) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	me := h.m.me
	switch {
	case h.over:
		return "the group is complete"
	case them.Data:
		return "rank 0 does not take data yet"
	case them.Size != me.Size:
		return h.fail("%s has been told of %d ranks, rank 0 of %d: start all with one count", them.name(), them.Size, me.Size)
	case them.Rank < 1 || them.Rank >= me.Size:
		return fmt.Sprintf("there is no rank %d in a group of %d beside rank 0", them.Rank, me.Size)
	case them.Build != me.Build:
		return h.fail("%s runs another build of longlora (%s) than rank 0 on %s (%s): install one on all machines",
			them.name(),
			them.Build, me.Host, me.Build)
	case h.held[them.Rank]:
		why := fmt.Sprintf("there is a rank %d already: %s", them.Rank, h.hellos[them.Rank].name())
		fmt.Fprintf(h.m.log, "warning: %s was turned away: %s\n", them.name(), why)
		return why
	}
	h.held[them.Rank] = true
	ip, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	h.hellos[them.Rank] = them
	if them.ID != me.ID { // else whoever reaches rank 0 reaches it too
		h.hellos[them.Rank].Addr = ip
	}
	return ""
}

// fail ends the rendezvous.
func (h *hosting) fail(format string, a ...any) string {
	why := fmt.Sprintf(format, a...)
	if h.fatal == nil {
		h.fatal = errs.Usagef("%s", why)
	}
	return why
}

// tell says from time to time who is waited for, and ends the rendezvous when one who came is gone.
func (h *hosting) tell(ctx context.Context, end func()) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.mu.Lock()
		missing, over := h.missing(), h.over
		for r, l := range h.j.lines {
			if !over && l != nil && hungUp(l.Conn) {
				h.fail("%s ended before all ranks were there", h.hellos[r].name())
			}
		}
		fatal := h.fatal
		h.mu.Unlock()
		switch {
		case fatal != nil:
			end()
			return
		case over || len(missing) == 0:
			return
		case n%10 > 0:
			continue
		}
		fmt.Fprintf(h.m.log, "waiting     for %s of %d\n", ranks(missing), h.m.place.Size)
	}
}

// hungUp reports whether the other side of a connection on which nothing is to come has closed it.
func hungUp(c net.Conn) (gone bool) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n == 0 && err == nil || errors.Is(err, syscall.ECONNRESET)
	})
	return gone
}

// ranks is a list of ranks for people.
func ranks(list []int) string {
	var words []string
	for i, r := range list {
		if i == 8 && len(list) > 9 {
			words = append(words, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		words = append(words, strconv.Itoa(r))
	}
	if len(list) == 1 {
		return "rank " + words[0]
	}
	return "ranks " + strings.Join(words, ", ")
}

// visit is the rendezvous of the other ranks: they call rank 0 until it answers.
func (m *meeting) visit(ctx context.Context, j *Job) error {
	c, err := m.reach(ctx)
	if err != nil {
		return err
	}
	j.lines[0] = &line{Conn: c}
	_ = c.SetReadDeadline(m.until.Add(handshakeTime)) // rank 0 ends the waiting, and says why
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			_ = c.SetReadDeadline(time.Now())
		}
	})
	defer stop()
	for {
		kind, body, err := readFrame(c, maxFrame)
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return ctx.Err()
		case err != nil:
			return errs.Usagef("rank 0 at %s ended before all ranks were there; its own message says why", c.RemoteAddr())
		case kind == framePeers:
			_ = c.SetReadDeadline(time.Time{})
			return readPeers(body, m.place.Size, &j.Hellos)
		}
	}
}

// reach calls rank 0's ports until one lets this rank in.
func (m *meeting) reach(ctx context.Context) (net.Conn, error) {
	p, begun, pause, said := m.place, time.Now(), 50*time.Millisecond, false
	var last error // of the latest round that had time
	for {
		var round error
		for i := range p.Ports {
			addr := net.JoinHostPort(p.Addr, strconv.Itoa(p.Port+i))
			d := net.Dialer{Timeout: 5 * time.Second}
			c, err := d.DialContext(ctx, "tcp", addr)
			if err == nil {
				if _, err = call(c, p.Token, m.me); err == nil {
					return c, nil
				}
				_ = c.Close()
			}
			var why refused
			if errors.As(err, &why) {
				return nil, errs.Usagef("rank %d is not let in: %s", p.Rank, why.why)
			}
			if round == nil || !errors.Is(err, syscall.ECONNREFUSED) {
				round = fmt.Errorf("%s: %w", addr, reason(err))
			}
			var dns *net.DNSError
			if errors.As(err, &dns) && time.Since(begun) > resolveTime {
				return nil, errs.Usagef("rank 0 is to be at %s (%s), and that name does not resolve: %w; set MASTER_ADDR to a "+
					"name or address that this machine reaches", p.Addr, p.By, dns)
			}
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		if time.Until(m.until) > 100*time.Millisecond || last == nil {
			last = round
		}
		if ctx.Err() != nil {
			return nil, errs.Usagef("rank 0 was not reached (%s) within %s: %w; is it started, and does it listen there?", p.By,
				time.Since(begun).Round(time.Second), last)
		}
		if !said && time.Since(begun) > 3*time.Second {
			said = true
			fmt.Fprintf(m.log, "waiting     for rank 0: %v\n", last)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Second)
	}
}
