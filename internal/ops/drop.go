package ops

import "math"

// Dropout zeroes elements with probability P and scales the others by 1/(1-P). Whether element (t,c) falls
// is a function of keys[t], Stream and c alone (see DropKeep), so that it can be made again in the backward pass.
type Dropout struct {
	P      float32
	Stream uint64 // tells layers and targets apart
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection that spreads every bit.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// DropKey is a token's key for Dropout: a function of the run's seed, the step, the sample and the position.
func DropKey(seed uint64, step, sample int64, pos int32) uint64 {
	k := mix(seed + 0x9e3779b97f4a7c15)
	k = mix(k ^ uint64(step))
	k = mix(k ^ uint64(sample))
	return mix(k ^ uint64(uint32(pos)))
}

// streamSalt spreads a stream's number over the bits of a key.
const streamSalt = 0x9e3779b97f4a7c15

// DropKeep reports whether channel c of a token survives dropout with probability p.
func DropKeep(key, stream uint64, c int, p float32) bool {
	u := mix(mix(key^stream*streamSalt) ^ uint64(c))
	return float64(u>>11)*0x1p-53 >= float64(p)
}

// Salt is what DropKeep mixes into a token's key.
func (d Dropout) Salt() uint64 { return d.Stream * streamSalt }

// Bound is the least hash that DropKeep keeps: u>>11 · 2^-53 >= P, all of it exact, is u >= Bound.
func (d Dropout) Bound() uint64 { return uint64(math.Ceil(float64(d.P)*0x1p53)) << 11 }
