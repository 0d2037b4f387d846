package dist

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"longlora/internal/errs"
)

// Place is what a process knows of its group before it has met the others.
type Place struct {
	By         string // what gave it: the variables' launcher
	Rank, Size int
	Local      int    // number among the ranks of this machine
	Addr       string // of rank 0: a name or an address
	Port       int    // the first that rank 0 may listen on
	Ports      int    // how many from there on
	Token      []byte // what only the ranks of this job know, as far as its launcher keeps it secret
	Launched   bool   // by this program itself: see Launch
}

// Variables of this program beside those of launchers.
const (
	TokenVariable  = "LONGLORA_JOB_TOKEN"     // a secret of the job's, where its launcher gives none
	JoinVariable   = "LONGLORA_JOIN_SECONDS"  // how long ranks wait for each other at the beginning
	StallVariable  = "LONGLORA_STALL_SECONDS" // how long work may stand still; 0 is for ever
	launchVariable = "LONGLORA_LAUNCHED"      // by Launch: the job's token
)

// Variables are the names of this package's variables that begin as those of options do.
var Variables = []string{TokenVariable, JoinVariable, StallVariable, launchVariable}

// CheckVariables refuses a value that one of them does not take, also where there is no group that would ask for it.
func CheckVariables(get func(name string) string) error {
	_, _, err := environment(get).seconds(JoinVariable, 1)
	if err == nil {
		_, _, err = environment(get).seconds(StallVariable, 0)
	}
	return err
}

// ports is how many ports are tried where the launcher's own store has the first, or the job's number gives one.
const ports = 16

// environment reads variables. An empty one is none.
type environment func(name string) string

// seconds are those of one of this program's own variables, from lo on, which also a process without a group reads.
func (e environment) seconds(name string, lo int) (n int, ok bool, err error) {
	return e.number(name, lo, 1<<20, "see docs/distributed.md, or unset it")
}

// number is a variable's whole number from lo to hi; ok says whether it is set, and mend what to do about another.
func (e environment) number(name string, lo, hi int, mend string) (n int, ok bool, err error) {
	text := e(name)
	if text == "" {
		return 0, false, nil
	}
	n, err = strconv.Atoi(text)
	if err != nil || n < lo || n > hi {
		return 0, true, errs.Usagef("%s is %.40q: not a whole number from %d to %d; %s", name, text, lo, hi, mend)
	}
	return n, true, nil
}

// Bounds of what launchers' variables say, and what to do about another.
const (
	mostRanks = 1 << 20
	lastPort  = 65535
	undo      = "see docs/distributed.md, or unset it where no group is meant"
)

// FromEnvironment finds the place that a launcher's variables give this process: this program's own, torchrun's,
// Slurm's, Open MPI's, the first that speaks. Size is 1 where none does. Half a set is an error of kind Usage.
func FromEnvironment(get func(name string) string) (Place, error) {
	e := environment(get)
	for _, find := range []func(environment) (Place, error){torchrun, slurm, openMPI} {
		p, err := find(e)
		if err != nil || p.Size > 1 {
			if secret := e(TokenVariable); secret != "" {
				p.Token = fmt.Append(p.Token, " secret ", secret)
			}
			return p, err
		}
	}
	return Place{Size: 1}, nil
}

// complete refuses a rank that is none of the group's.
func (p Place) complete(rank, size string) (Place, error) {
	if p.Rank >= p.Size {
		return p, errs.Usagef("%s is %d and %s is %d: ranks are counted from 0; %s", rank, p.Rank, size, p.Size, undo)
	}
	return p, nil
}

// torchrun's variables, which other launchers and people set too, and this program's own for its processes.
func torchrun(e environment) (Place, error) {
	p := Place{By: "RANK and WORLD_SIZE", Ports: 1}
	names := []string{"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
	numbers := map[string]*int{"RANK": &p.Rank, "WORLD_SIZE": &p.Size, "LOCAL_RANK": &p.Local, "MASTER_PORT": &p.Port}
	least := map[string]int{"WORLD_SIZE": 1, "MASTER_PORT": 1}
	most := map[string]int{"RANK": mostRanks, "WORLD_SIZE": mostRanks, "LOCAL_RANK": mostRanks, "MASTER_PORT": lastPort}
	var has, missing []string
	for _, name := range names {
		set := e(name) != ""
		if to := numbers[name]; to != nil {
			var err error
			if *to, set, err = e.number(name, least[name], most[name], undo); err != nil {
				return p, err
			}
		}
		if set {
			has = append(has, name)
		} else {
			missing = append(missing, name)
		}
	}
	switch {
	case !slices.Contains(has, "RANK") && !slices.Contains(has, "WORLD_SIZE"):
		return Place{Size: 1}, nil // the rest says nothing alone, and Slurm's scripts set an address
	case p.Size == 1 && p.Rank == 0 && slices.Contains(has, "WORLD_SIZE"):
		return Place{Size: 1}, nil
	case len(missing) > 0:
		return p, errs.Usagef("%s set, but not %s: half of a launcher's variables; start with torchrun, or set all of "+
			"%s, or none", are(has), strings.Join(missing, ", "), strings.Join(names, ", "))
	}
	p.Addr = e("MASTER_ADDR")
	if secret := e(launchVariable); secret != "" {
		p.By, p.Launched, p.Token = errs.Option("gpus").String(), true, []byte(secret)
		return p.complete("RANK", "WORLD_SIZE")
	}
	p.Token = fmt.Appendf(nil, "ranks %s:%d %s %s", p.Addr, p.Port, e("TORCHELASTIC_RUN_ID"),
		e("TORCHELASTIC_RESTART_COUNT"))
	if e("TORCHELASTIC_RUN_ID") != "" {
		p.By = "torchrun's variables"
	}
	if e("TORCHELASTIC_USE_AGENT_STORE") == "True" { // its store listens on MASTER_PORT
		p.Port, p.Ports = p.Port+1, ports
	}
	return p.complete("RANK", "WORLD_SIZE")
}

// are is a list of names with its verb.
func are(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, ", ") + " are"
}

// launched reads a launcher's count of ranks and, where there are several, this one's number in all and on its machine.
func (e environment) launched(by, command, size, rank, local string) (p Place, in bool, err error) {
	n, has, err := e.number(size, 1, mostRanks, undo)
	if err != nil || !has || n == 1 {
		return Place{Size: 1}, false, err
	}
	p = Place{By: by, Ports: ports, Size: n}
	for _, v := range []struct {
		name string
		to   *int
	}{{rank, &p.Rank}, {local, &p.Local}} {
		if *v.to, has, err = e.number(v.name, 0, mostRanks, undo); err != nil {
			return p, false, err
		} else if !has {
			return p, false, errs.Usagef("%s is set, but not %s: half of %s; start with %s, or unset it", size, v.name, by,
				command)
		}
	}
	return p, true, nil
}

// slurm's variables in a step. Those of a batch script, which is one process, have no count of the step's tasks.
func slurm(e environment) (Place, error) {
	p, in, err := e.launched("Slurm's variables", "srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")
	if err != nil || !in {
		return p, err
	}
	if p.Addr = e("MASTER_ADDR"); p.Addr == "" {
		list := e("SLURM_STEP_NODELIST")
		if p.Addr = firstHost(list); p.Addr == "" {
			return p, errs.Usagef("SLURM_STEP_NODELIST is %.80q, which names no machine; set MASTER_ADDR to that of rank "+
				"0", list)
		}
	}
	job := e("SLURM_JOB_ID") + "." + e("SLURM_STEP_ID")
	p.Token = []byte("slurm " + job)
	if p, err = p.at(e, job); err != nil {
		return p, err
	}
	return p.complete("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
}

// at fills in the port: MASTER_PORT, or one that follows from the job's name.
func (p Place) at(e environment, job string) (Place, error) {
	port, has, err := e.number("MASTER_PORT", 1, lastPort, undo)
	if has {
		p.Port, p.Ports = port, 1
		return p, err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(job))
	p.Port = 20000 + int(h.Sum32()%500)*ports // below those that systems give away, from 32768 on
	return p, err
}

// firstHost is the first machine of Slurm's list: gpu003 of gpu[003-006,9],cpu1.
func firstHost(list string) string {
	head, rest, ranged := strings.Cut(list, "[")
	if name, _, more := strings.Cut(head, ","); !ranged || more {
		return strings.TrimSpace(name)
	}
	inner, tail, closed := strings.Cut(rest, "]")
	if !closed {
		return ""
	}
	end := strings.IndexAny(inner, "-,")
	if end < 0 {
		end = len(inner)
	}
	if tail, _, _ = strings.Cut(tail, ","); strings.Contains(tail, "[") {
		tail = firstHost(tail)
	}
	return strings.TrimSpace(head + inner[:end] + tail)
}

// openMPI's variables.
func openMPI(e environment) (Place, error) {
	p, in, err := e.launched("Open MPI's variables", "mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK",
		"OMPI_COMM_WORLD_LOCAL_RANK")
	if err != nil || !in {
		return p, err
	}
	if p.Addr = e("MASTER_ADDR"); p.Addr == "" {
		if local, _, _ := e.number("OMPI_COMM_WORLD_LOCAL_SIZE", 1, mostRanks, undo); local != p.Size {
			return p, errs.Usagef("Open MPI's variables do not say on which machine rank 0 is; give it: mpirun -x " +
				"MASTER_ADDR=NAME")
		}
		p.Addr = "127.0.0.1"
	}
	job := e("PMIX_NAMESPACE")
	if job == "" {
		job = e("OMPI_MCA_ess_base_jobid")
	}
	p.Token = []byte("mpi " + job)
	if p, err = p.at(e, job); err != nil {
		return p, err
	}
	return p.complete("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
}
