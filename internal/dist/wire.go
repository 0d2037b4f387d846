package dist

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A connection begins with a handshake in which both sides show that they know the job's token, which itself is never
// sent. Who calls speaks first:
//
//	caller   magic, 32 random bytes
//	other    magic, 32 random bytes
//	caller   frame hello: its Hello as JSON, and a code over both sides' bytes and that
//	other    frame welcome: its Hello, and such a code; or frame refuse: why not, as JSON, and a code; or frame other:
//	         the caller's code is not by this job's token, and nothing that it said was looked at
//
// A code is HMAC-SHA256 by a key made of the token. A frame is its length, its kind and so many bytes.

const magic = "LLRANKS1"

// frame kinds.
const (
	frameHello byte = 1 + iota
	frameWelcome
	frameRefuse
	frameOther
	framePeers // from rank 0, once all are there: where each rank is
	frameBeat  // I am alive
	frameStop  // all are to stop: somebody was asked to
	frameAbort // somebody failed, and all are to end
	frameBye   // the sender is done, and its connection ends without a fault
)

// maxFrame is longer than the list of as many ranks as there may be, in bytes.
const maxFrame = 1 << 20

func writeFrame(w io.Writer, kind byte, body []byte) error {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 5+len(body)), uint32(len(body)))
	_, err := w.Write(append(append(b, kind), body...))
	return err
}

// errFrame is what whoever sends no frames gets.
var errFrame = errors.New("it does not speak as a rank does")

// readFrame reads a frame of at most so many bytes. Memory is taken as they come.
func readFrame(r io.Reader, most int64) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:]))
	if n > most {
		return 0, nil, errFrame
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, n); err != nil {
		return 0, nil, err
	}
	return head[4], b.Bytes(), nil
}

// Hello is what a rank says of itself.
type Hello struct {
	Data   bool   `json:"data"` // the connection is for data
	Rank   int    `json:"rank"`
	Size   int    `json:"size"`
	Build  string `json:"build"`  // of the program
	Host   string `json:"host"`   // the machine, for people
	ID     string `json:"id"`     // the machine, so that two of one name differ
	PID    int    `json:"pid"`    // process
	Device string `json:"device"` // the card's own name in the world, or cpu
	NCCL   string `json:"nccl"`   // version, "" for none
	Port   int    `json:"port"`   // that it listens on for the other ranks' data
	Addr   string `json:"addr"`   // of its machine, as rank 0 sees it; "" where that is rank 0's own
}

// refusal is why a rank is not let in.
type refusal struct {
	Why string `json:"why"`
}

// errOther says that who listens there is no rank of this job.
var errOther = errors.New("who listens there belongs to another job")

// nonce is the random part of one side.
type nonce [32]byte

// key is what codes are made with.
func key(token []byte) []byte {
	h := hmac.New(sha256.New, token)
	h.Write([]byte(magic))
	return h.Sum(nil)
}

// code is over a side's role, both sides' random bytes and a body.
func code(key []byte, kind byte, caller, other nonce, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte{kind})
	h.Write(caller[:])
	h.Write(other[:])
	h.Write(body)
	return h.Sum(nil)
}

// sign is a body with its code.
func sign(key []byte, kind byte, caller, other nonce, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	return append(code(key, kind, caller, other, body), body...), err
}

// verify checks a body's code and reads it.
func verify(key []byte, kind byte, caller, other nonce, b []byte, v any) error {
	if len(b) < sha256.Size || !hmac.Equal(b[:sha256.Size], code(key, kind, caller, other, b[sha256.Size:])) {
		return errOther
	}
	if json.Unmarshal(b[sha256.Size:], v) != nil {
		return errFrame
	}
	return nil
}

// mostHello is the length of a handshake's frames at most, in bytes.
const mostHello = 8 << 10

// handshakeTime is how long one handshake may take.
const handshakeTime = 10 * time.Second

// trade sends one side's beginning and reads the other's.
func trade(c net.Conn) (own, theirs nonce, err error) {
	_, _ = rand.Read(own[:]) // which never fails
	if _, err = c.Write(append([]byte(magic), own[:]...)); err != nil {
		return own, theirs, err
	}
	var b [len(magic) + len(theirs)]byte
	if _, err = io.ReadFull(c, b[:]); err == nil && string(b[:len(magic)]) != magic {
		err = errFrame
	}
	copy(theirs[:], b[len(magic):])
	return own, theirs, err
}

// refused is that the other side knows the job and does not let this rank in.
type refused struct{ why string }

func (r refused) Error() string { return r.why }

// call is the handshake of who dialled. It returns what the other side says of itself.
func call(c net.Conn, token []byte, me Hello) (them Hello, err error) {
	_ = c.SetDeadline(time.Now().Add(handshakeTime))
	defer func() { _ = c.SetDeadline(time.Time{}) }()
	own, theirs, err := trade(c)
	if err != nil {
		return them, err
	}
	k := key(token)
	b, err := sign(k, frameHello, own, theirs, me)
	if err == nil {
		err = writeFrame(c, frameHello, b)
	}
	if err != nil {
		return them, err
	}
	kind, body, err := readFrame(c, mostHello)
	switch {
	case err != nil:
		return them, err
	case kind == frameOther:
		return them, errOther
	case kind == frameRefuse:
		var why refusal
		if err := verify(k, kind, own, theirs, body, &why); err != nil {
			return them, err
		}
		return them, refused{why.Why}
	case kind != frameWelcome:
		return them, errFrame
	}
	return them, verify(k, kind, own, theirs, body, &them)
}

// answer is the handshake of who accepted. admit says why a rank is not let in, "" where it is.
func answer(c net.Conn, token []byte, me Hello, admit func(Hello) string) (them Hello, err error) {
	_ = c.SetDeadline(time.Now().Add(handshakeTime))
	defer func() { _ = c.SetDeadline(time.Time{}) }()
	var b [len(magic) + 32]byte // a stranger learns nothing, not even the magic
	if _, err = io.ReadFull(c, b[:]); err != nil {
		return them, err
	}
	if string(b[:len(magic)]) != magic {
		return them, errFrame
	}
	var own, theirs nonce
	copy(theirs[:], b[len(magic):])
	_, _ = rand.Read(own[:])
	if _, err = c.Write(append([]byte(magic), own[:]...)); err != nil {
		return them, err
	}
	kind, body, err := readFrame(c, mostHello)
	if err != nil {
		return them, err
	}
	k := key(token)
	if kind != frameHello {
		return them, errFrame
	}
	if err := verify(k, kind, theirs, own, body, &them); err != nil {
		_ = writeFrame(c, frameOther, nil)
		return them, err
	}
	kind, reply := frameWelcome, any(me)
	why := admit(them)
	if why != "" {
		kind, reply = frameRefuse, refusal{why}
	}
	if body, err = sign(k, kind, theirs, own, reply); err == nil {
		err = writeFrame(c, kind, body)
	}
	if err == nil && why != "" {
		err = refused{why}
	}
	return them, err
}

// line is a connection whose frames several goroutines write.
type line struct {
	net.Conn
	mu sync.Mutex
}

// sendTime is how long a small frame may take to be taken.
const sendTime = 3 * time.Second

func (l *line) send(kind byte, v any) error {
	var body []byte
	if v != nil {
		var err error
		if body, err = json.Marshal(v); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.SetWriteDeadline(time.Now().Add(sendTime))
	return writeFrame(l, kind, body)
}

// name is a rank for people.
func (h Hello) name() string { return fmt.Sprintf("rank %d (%s, process %d)", h.Rank, h.Host, h.PID) }
