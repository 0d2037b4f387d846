package model

// Apart gives every name of a pass memory of its own.
func (r *Runner) Apart() { r.apart = true }
