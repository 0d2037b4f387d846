package template

import (
	"fmt"

	"longlora/internal/data/example"
	"longlora/internal/data/jinja"
)

// trimmed is a message's content as templates that trim write it.
func trimmed(m *example.Message) string {
	if m.Exact {
		return m.Content
	}
	return jinja.Strip(m.Content)
}

// turns goes through a conversation of a user and an assistant in turn, the user first, perhaps after a system text,
// which is given with the first of the user's.
func turns(ms []example.Message, ask func(first bool, system *string, m example.Message),
	reply func(m example.Message)) error {
	var sys *string
	if ms[0].Role == example.System {
		s := trimmed(&ms[0])
		sys, ms = &s, ms[1:]
	}
	for i, m := range ms {
		want := []string{example.User, example.Assistant}[i%2]
		if m.Role != want {
			return fmt.Errorf("%s: a message of the %s where one of the %s is wanted: the template has a system text only "+
				"before the first turn, then the user and the assistant in turn", m.At, m.Role, want)
		}
		if m.Role == example.User {
			ask(i == 0, sys, m)
			sys = nil
		} else {
			reply(m)
		}
	}
	return nil
}

func llama2(r *Rendering, e *example.Example) error {
	return turns(e.Messages, func(_ bool, sys *string, m example.Message) {
		r.raw("<s>[INST] ")
		if sys != nil {
			r.raw("<<SYS>>\n")
			r.prompt(*sys)
			r.raw("\n<</SYS>>\n\n")
		}
		r.user(m, jinja.Strip(m.Content))
		r.raw(" [/INST]")
	}, func(m example.Message) {
		r.raw(" ")
		r.answer(m, jinja.Strip(m.Content), " </s>")
	})
}

func mistral(r *Rendering, e *example.Example) error {
	return turns(e.Messages, func(first bool, sys *string, m example.Message) {
		if first {
			r.raw("<s>")
		}
		r.raw("[INST] ")
		if sys != nil {
			r.prompt(*sys)
			r.raw("\n\n")
		}
		r.user(m, jinja.Strip(m.Content))
		r.raw(" [/INST]")
	}, func(m example.Message) {
		r.raw(" ")
		r.answer(m, jinja.Strip(m.Content), "</s>")
	})
}

// pair are the only two messages of an example.
func pair(e *example.Example) (ask, reply example.Message, err error) {
	ms := e.Messages
	if len(ms) == 2 && ms[0].Role == example.User && ms[1].Role == example.Assistant {
		return ms[0], ms[1], nil
	}
	const mend = "; use a chat template such as llama2, llama3, chatml or mistral"
	if ms[0].Role == example.System {
		return ask, reply, fmt.Errorf("%s: a system text, for which the template has no place%s", ms[0].At, mend)
	}
	return ask, reply, fmt.Errorf("%s: the first of %d messages where the template has one of the user and one of the "+
		"assistant%s", ms[0].At, len(ms), mend)
}

func longalpaca(r *Rendering, e *example.Example) error {
	ask, reply, err := pair(e)
	if err != nil {
		return err
	}
	r.raw("[INST]")
	r.user(ask, ask.Content)
	r.raw("[/INST]")
	r.answer(reply, reply.Content, "</s>")
	return nil
}

// stanford are the two prompts of Stanford Alpaca's training script.
func stanford(r *Rendering, e *example.Example, eos string) error {
	ask, reply, err := pair(e)
	if err != nil {
		return err
	}
	text := ask.Content
	if e.Alpaca {
		text = e.Instruction
	}
	if e.Input != "" {
		r.raw("Below is an instruction that describes a task, paired with an input that provides further context. Write a " +
			"response that appropriately completes the request.\n\n### Instruction:\n")
		r.prompt(text)
		r.raw("\n\n### Input:\n")
		r.prompt(e.Input)
	} else {
		r.raw("Below is an instruction that describes a task. Write a response that appropriately completes the " +
			"request.\n\n### Instruction:\n")
		r.prompt(text)
	}
	r.raw("\n\n### Response:")
	r.answer(reply, reply.Content, eos)
	return nil
}
