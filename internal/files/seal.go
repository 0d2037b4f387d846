package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// A sealed JSON object has as its last field the sha256 of all that stands before it.
var seal = regexp.MustCompile(`,(\s*)"sha256":( ?)"([0-9a-f]{64})"\s*}\s*$`)

// Seal adds the seal to a JSON object that has a field.
func Seal(doc []byte) []byte {
	body := bytes.TrimRight(bytes.TrimSuffix(bytes.TrimSpace(doc), []byte("}")), " \n")
	before, colon, after := "", ":", "}"
	if bytes.Contains(body, []byte("\n")) { // as it is indented
		before, colon, after = "\n  ", ": ", "\n}\n"
	}
	sum := sha256.Sum256(body)
	return append(bytes.Clone(body), ","+before+`"sha256"`+colon+`"`+hex.EncodeToString(sum[:])+`"`+after...)
}

// Sealed reports whether b ends in a seal, and whether what stands before it is as it was sealed.
func Sealed(b []byte) (sealed, whole bool) {
	const longest = 128 // a seal with its spaces
	tail := max(0, len(b)-longest)
	at := seal.FindSubmatchIndex(b[tail:])
	if at == nil {
		return false, false
	}
	sum := sha256.Sum256(b[:tail+at[0]])
	return true, hex.EncodeToString(sum[:]) == string(b[tail+at[6]:tail+at[7]])
}
