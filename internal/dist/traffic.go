package dist

import "time"

// Flow is what a rank has exchanged with the others for one purpose.
type Flow struct {
	Sent     float64 `json:"sent_bytes"`
	Received float64 `json:"received_bytes"`
	Waited   float64 `json:"waited_s"` // that this rank's own process waited for, not only its card
}

// Traffic is what a rank has exchanged, without the few bytes that stand before each message. Of sums by NCCL it is
// what a ring of the cards carries.
type Traffic struct {
	Words Flow `json:"words"` // what the ranks tell each other of a step; the wait is for the slowest of them
	Sums  Flow `json:"sums"`  // of gradients
	Halos Flow `json:"halos"` // between neighbours that divide a row
	// of sharded weights: a rank reads the others' parts, which send nothing themselves and are not waited for
	Weights Flow `json:"weights"`
}

// flows are all of it, in one order.
func (t *Traffic) flows() []*Flow { return []*Flow{&t.Words, &t.Sums, &t.Halos, &t.Weights} }

// Since is what was exchanged after an earlier traffic, divided by n.
func (t Traffic) Since(was Traffic, n float64) Traffic {
	for i, x := range t.flows() {
		y := was.flows()[i]
		*x = Flow{(x.Sent - y.Sent) / n, (x.Received - y.Received) / n, (x.Waited - y.Waited) / n}
	}
	return t
}

// Most is the largest of each of all ranks' figures.
func (g *Group) Most(t Traffic) (Traffic, error) {
	var own []float64
	for _, x := range t.flows() {
		own = append(own, x.Sent, x.Received, x.Waited)
	}
	all, err := g.Numbers(own...)
	if err != nil {
		return t, err
	}
	for _, w := range all {
		for i, x := range t.flows() {
			*x = Flow{max(x.Sent, w[3*i]), max(x.Received, w[3*i+1]), max(x.Waited, w[3*i+2])}
		}
	}
	return t, nil
}

// Traffic is what this rank has exchanged so far.
func (g *Group) Traffic() Traffic {
	if g == nil {
		return Traffic{}
	}
	return g.traffic
}

// exchanged adds to a flow what was exchanged since begun.
func (f *Flow) exchanged(sent, received int, begun time.Time) {
	f.Sent += float64(sent)
	f.Received += float64(received)
	f.Waited += time.Since(begun).Seconds()
}
