package load

import (
	"longlora/internal/config"
	"longlora/internal/data"
	"longlora/internal/tokenizer"
)

// Documents say how data is read for a model: by its tokenizer, where there is one, and the options of documents.
// dir is the model's folder, vocab and eos what its config.json says.
func Documents(dir string, vocab int, eos []int, d *config.Documents, v *config.Values) (data.Options, *tokenizer.Tokenizer, error) {
	o := data.Options{Format: d.Format, Template: d.Template, TextField: d.TextField, TextNamed: v.Explicit("text-field"), SkipBad: d.SkipBad, Vocab: vocab}
	if v.Explicit("train-on-prompt") {
		o.TrainOnPrompt = &d.TrainOnPrompt
	}
	tok, err := tokenizer.Load(dir, eos)
	if o.NoEncoder = err; err != nil {
		return o, nil, nil // plain token ids need none
	}
	o.Encoder = tok
	o.Tokenizer, err = data.Identify(dir, tok)
	return o, tok, err
}
