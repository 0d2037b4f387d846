package eval

import (
	"context"
	"fmt"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/tokenizer"
	"longlora/internal/ui"
)

// Topics is one prompt of the topics task: many short discussions, then the question which came first.
type Topics struct {
	Prompt []int32
	Topics []string // in order; the first is the answer
	Room   int      // tokens that an answer may take
}

// Said is what a model answered.
type Said struct {
	Topics  int    `json:"topics"` // discussions in the prompt
	Topic   string `json:"topic"`  // the first, which is right
	Text    string `json:"text"`   // generated, up to the end of the line
	Correct bool   `json:"correct"`
	Exact   bool   `json:"exact"`
}

// spare is how many tokens an answer may be longer than the right one.
const spare = 8

// leastTopics are those that a prompt has at least.
const leastTopics = 2

// talk is what a trial's conversations are made of, by the number of their discussions.
type talk struct {
	e            *encoding
	order, turns []int // the topics, and where each one's exchanges begin in the list
	room         int   // for an answer, in tokens
}

func newTalk(enc Encoder, ctx, trial int, seed uint64) *talk {
	r := draw(seed, ctx, -1, trial)
	t := &talk{e: &encoding{enc: enc}, order: r.Perm(len(aspects) * len(subjects))}
	for range t.order {
		t.turns = append(t.turns, r.IntN(len(exchanges)))
	}
	t.room = len(t.e.ids(" "+t.topic(0))) + spare
	return t
}

func (t *talk) topic(i int) string {
	return aspects[t.order[i]/len(subjects)] + " " + subjects[t.order[i]%len(subjects)]
}

// prompt has n discussions.
func (t *talk) prompt(n int) []int32 {
	var b strings.Builder
	b.WriteString(opening)
	for i := range n {
		b.WriteString(discussion(t.topic(i), i == 0, t.turns[i]))
	}
	b.WriteString(closing)
	return t.e.withBOS(b.String())
}

// size is how many tokens a prompt with n discussions and its answer take.
func (t *talk) size(n int) int { return len(t.prompt(n)) + t.room }

// topicsFit refuses a length that is too short for a trial.
func topicsFit(enc Encoder, ctx, trials int, seed uint64) error {
	err := longEnough(ctx, func(ctx int) (most int, err error) {
		for k := range trials {
			t := newTalk(enc, ctx, k, seed)
			if most = max(most, t.size(leastTopics)); t.e.err != nil {
				return 0, t.e.err
			}
		}
		return most, nil
	})
	if err != nil {
		return fmt.Errorf("the topics task: %w", err)
	}
	return nil
}

// MakeTopics builds a prompt: as many discussions as leave room for an answer in ctx tokens, at least two. What is
// drawn depends on (seed, ctx, trial) alone. Every topic occurs once; where all are used up the prompt stays shorter.
func MakeTopics(enc Encoder, ctx, trial int, seed uint64) (Topics, error) {
	t := newTalk(enc, ctx, trial, seed)
	n, err := most(func(n int) int {
		if n > len(t.order) {
			return ctx + 1
		}
		return t.size(n)
	}, ctx, leastTopics)
	if t.e.err != nil {
		err = t.e.err
	}
	if err != nil {
		return Topics{}, fmt.Errorf("the topics task: %w", err)
	}
	x := Topics{Prompt: t.prompt(n), Room: t.room}
	for i := range n {
		x.Topics = append(x.Topics, t.topic(i))
	}
	return x, nil
}

// discussion is the text of one topic.
func discussion(topic string, first bool, turn int) string {
	hello := changes[turn%len(changes)]
	if first {
		hello = begins
	}
	var b strings.Builder
	b.WriteString(hello)
	for k := range exchangesEach {
		b.WriteString(exchanges[(turn+k)%len(exchanges)])
	}
	return strings.ReplaceAll(b.String(), "{topic}", topic)
}

// plain is a text in lower case with single spaces, without quotes and punctuation round it.
func plain(s string) string {
	return strings.Trim(strings.Join(strings.Fields(strings.ToLower(s)), " "), ".,:;!?\"'*()[] ")
}

// judge compares an answer with the first topic. It is correct when it names that topic before any other of the
// conversation's, exact when it is nothing but that.
func (t Topics) judge(text string) *Said {
	s := &Said{Topics: len(t.Topics), Topic: t.Topics[0], Text: strings.TrimSpace(text)}
	p := plain(text)
	s.Exact = p == plain(t.Topics[0])
	at := strings.Index(p, plain(t.Topics[0]))
	s.Correct = at >= 0
	for _, other := range t.Topics[1:] {
		if k := strings.Index(p, plain(other)); k >= 0 && k < at {
			s.Correct = false
		}
	}
	return s
}

// complete continues a prompt greedily by at most n tokens, up to the end of the text or until it is enough.
func complete(r *model.Runner, prompt []int32, n int, enc *tokenizer.Tokenizer, ends map[int32]bool,
	enough func(text string) bool) (string, error) {
	if err := inVocabulary(r, prompt); err != nil {
		return "", err
	}
	s := r.NewSession(len(prompt) + n)
	defer s.Close()
	if err := s.Append(prompt...); err != nil {
		return "", err
	}
	var b strings.Builder
	stream := enc.Stream()
	for i := range n {
		id, err := s.Best()
		if err != nil {
			return "", err
		}
		if ends[id] {
			break
		}
		text, err := stream.Next(id)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
		if enough(b.String()) {
			return b.String(), nil
		}
		if i+1 < n {
			if err := s.Append(id); err != nil {
				return "", err
			}
		}
	}
	rest, err := stream.Rest()
	return b.String() + rest, err
}

// firstLine is a text's first line that is not blank, and whether it has come to its end.
func firstLine(text string) (line string, ended bool) {
	line, _, ended = strings.Cut(strings.TrimLeft(text, " \n"), "\n")
	return line, ended
}

func (e *evaluation) topics(ctx context.Context, r *model.Runner, x *item) error {
	keys, kept := make([]string, e.cfg.Trials), 0
	for k := range keys {
		keys[k] = fmt.Sprintf("%s/%d", x.key, k)
		if e.keep.have[keys[k]].Said != nil {
			kept++
		}
	}
	bar := ui.NewProgress(e.log, fmt.Sprintf("topics %d", x.res.Ctx), e.cfg.Trials, kept)
	defer bar.Done()
	stop := ends(e.base, e.enc)
	correct, exact := 0, 0
	for k, key := range keys {
		said := e.keep.have[key].Said
		if said == nil && !e.mine() {
			continue
		}
		if said == nil {
			if ctx.Err() != nil {
				return errs.Interruptedf("interrupted in the topics task at %d tokens", x.res.Ctx)
			}
			t, err := MakeTopics(e.enc, x.res.Ctx, k, e.cfg.Seed)
			if err != nil {
				return err
			}
			text, err := complete(r, t.Prompt, t.Room, e.enc, stop, func(text string) bool {
				_, ended := firstLine(text)
				return ended
			})
			if err != nil {
				return err
			}
			text, _ = firstLine(text)
			said = t.judge(text)
			bar.Step(fmt.Sprintf("%d topics", said.Topics))
			if err := e.put(line{Key: key, Said: said}); err != nil {
				return err
			}
		}
		if e.share != nil {
			continue
		}
		x.res.Answers = append(x.res.Answers, *said)
		if said.Correct {
			correct++
		}
		if said.Exact {
			exact++
		}
	}
	if e.share != nil {
		return nil
	}
	a, b := float64(correct)/float64(e.cfg.Trials), float64(exact)/float64(e.cfg.Trials)
	x.res.Trials, x.res.Accuracy, x.res.Exact = e.cfg.Trials, &a, &b
	return nil
}
