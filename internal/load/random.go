package load

import (
	"encoding/binary"
	"hash/fnv"
	"math"

	"longlora/internal/model"
	"longlora/internal/tensor"
)

// Random is the source of a model that was never trained, as transformers initialises it: matrices from
// N(0, sd²), norms such that they only norm, biases zero. Every element is a function of the seed, the tensor's name
// and the element's index, so the weights do not depend on the order in which they are asked for. Tensors are float32.
func Random(d model.Desc, sd float64, seed uint64) model.Source {
	tensors := map[string]model.TensorSpec{}
	for _, s := range d.Tensors() {
		tensors[s.Name] = s
	}
	return func(name string) (tensor.Stored, error) {
		t := tensors[name]
		n := t.Shape.Elems()
		data := make([]byte, 4*n)
		k := key(seed, name)
		for i := range n {
			v := float32(0)
			switch t.Kind {
			case model.KindNorm:
				v = d.NormStart()
			case model.KindMatrix:
				v = float32(sd * normal(k, uint64(i)))
			}
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
		}
		return tensor.Stored{Format: tensor.Dense(tensor.F32), Shape: t.Shape, Data: data}, nil
	}
}

func shapesOf(d model.Desc) map[string]tensor.Shape {
	m := map[string]tensor.Shape{}
	for _, s := range d.Tensors() {
		m[s.Name] = s.Shape
	}
	return m
}

// key mixes the seed with a tensor's name.
func key(seed uint64, name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return mix(mix(seed+golden) ^ h.Sum64())
}

// golden is 2^64 divided by the golden ratio, the step of splitmix64's counter.
const golden = 0x9e3779b97f4a7c15

// mix is the finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// normal is the i-th standard normal number of a key, by Box and Muller's transform.
func normal(key, i uint64) float64 {
	u := mix(key + (2*i+1)*golden)
	v := mix(key + (2*i+2)*golden)
	r := math.Sqrt(-2 * math.Log((float64(u>>11)+0.5)*0x1p-53))
	return r * math.Cos(2*math.Pi*float64(v>>11)*0x1p-53)
}
