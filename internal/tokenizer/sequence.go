package tokenizer

import (
	"encoding/json"
	"fmt"
)

const (
	// maxParts bounds the parts of a normalizer, a pre-tokenizer, a post-processor or a decoder, each of which goes
	// through every text. Known tokenizers have at most six.
	maxParts = 64
	// maxNested bounds Sequences within Sequences, each of which is read once more for every one around it.
	maxNested = 4
)

// sequence lists the parts of a typed object of tokenizer.json: what its field list and the Sequences there hold, or
// the object itself. Of null it is nothing.
func sequence(raw json.RawMessage, list string) ([]json.RawMessage, error) {
	if null(raw) {
		return nil, nil
	}
	var all []json.RawMessage
	var walk func(raw json.RawMessage, deep int) error
	walk = func(raw json.RawMessage, deep int) error {
		var p struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(raw, &p); err != nil {
			return err
		}
		if p.Type != "Sequence" {
			if len(all) == maxParts {
				return fmt.Errorf("more than %d parts", maxParts)
			}
			all = append(all, raw)
			return nil
		}
		if deep == maxNested {
			return fmt.Errorf("more than %d Sequences within one another", maxNested)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			return err
		}
		var parts []json.RawMessage
		if err := json.Unmarshal(fields[list], &parts); err != nil {
			return fmt.Errorf("%s: %w", list, err)
		}
		for _, q := range parts {
			if err := walk(q, deep+1); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(raw, 0); err != nil {
		return nil, err
	}
	return all, nil
}
