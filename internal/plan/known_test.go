package plan

import (
	"testing"

	"longlora/internal/model"
	"longlora/internal/s2attn"
)

// Every known name leads to a shape that is there; one with windows only where they are left out.
func TestKnownNames(t *testing.T) {
	for name, k := range hubNames {
		if _, ok := model.Shape(k.shape); !ok {
			t.Errorf("%s: there is no shape %s", name, k.shape)
		}
	}
	off, keep := s2attn.Off, s2attn.Keep
	for _, c := range []struct {
		name   string
		window *s2attn.Choice
		shape  string // "" where the name is not known
		vocab  int
	}{
		{"meta-llama/Llama-2-7b-chat-hf", nil, "llama2-7b", 32000}, {"meta-llama/Llama-3.2-1B-Instruct", &keep, "llama3.2-1b", 128256},
		{"mistralai/Mistral-7B-v0.1", &off, "mistral-7b", 32000}, {"mistralai/Mistral-7B-v0.1", nil, "", 0}, {"mistralai/Mistral-7B-v0.1", &keep, "", 0},
		{"mistralai/Mistral-7B-v0.3", nil, "mistral-7b", 32768}, {"someone/else", nil, "", 0}, {"", nil, "", 0},
	} {
		k, ok := byName(c.name, c.window)
		if ok != (c.shape != "") || ok && k.shape != c.shape {
			t.Errorf("%s: %+v, %v; want %q", c.name, k, ok, c.shape)
			continue
		}
		if d, _ := model.Shape(k.shape); ok {
			if k.fit(&d); d.V != c.vocab {
				t.Errorf("%s has a vocabulary of %d, want %d", c.name, d.V, c.vocab)
			}
		}
	}
}

// What is to become of windows holds for a shape's too.
func TestShapesWindows(t *testing.T) {
	off := s2attn.Off
	s, err := newSubject(Options{Shape: "gemma2-9b"})
	if err != nil || len(s.desc.Windows) == 0 {
		t.Fatalf("%+v, %v", s.desc, err)
	}
	if s, err = newSubject(Options{Shape: "gemma2-9b", Window: &off}); err != nil || len(s.desc.Windows) != 0 {
		t.Errorf("left out: %v, %v", s.desc.Windows, err)
	}
	w := s2attn.Choice(1024)
	if s, err = newSubject(Options{Shape: "gemma2-9b", Window: &w}); err != nil || s.desc.Windows[0] != 1024 || s.desc.Windows[1] != 0 {
		t.Errorf("1024: %v, %v", s.desc.Windows, err)
	}
	if _, err = newSubject(Options{Shape: "llama2-7b", Window: &w}); err == nil {
		t.Error("a length for windows that are not there")
	}
}
