package report

// most is how many points of a curve are drawn: where there are more, noise hides which way it goes.
const most = 150

// binned draws a long curve by the mean of each of most bins, and the least and greatest value of each as a band.
// Bins are by X, which rises, so that gaps stay where they are.
func binned(s series) series {
	if len(s.X) <= most {
		return s
	}
	out := series{Name: s.Name, Dashed: s.Dashed}
	first, span := s.X[0], s.X[len(s.X)-1]-s.X[0]
	bin := func(i int) int { return min(most-1, int(float64(most)*(s.X[i]-first)/span)) }
	for i := 0; i < len(s.X); {
		j, x, y, lo, hi := i, 0.0, 0.0, s.Y[i], s.Y[i]
		for ; j < len(s.X) && bin(j) == bin(i); j++ {
			x, y, lo, hi = x+s.X[j], y+s.Y[j], min(lo, s.Y[j]), max(hi, s.Y[j])
		}
		n := float64(j - i)
		out.X, out.Y, out.Lo, out.Hi = append(out.X, x/n), append(out.Y, y/n), append(out.Lo, lo), append(out.Hi, hi)
		i = j
	}
	return out
}
