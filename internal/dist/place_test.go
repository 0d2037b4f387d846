package dist

import (
	"bytes"
	"strings"
	"testing"

	"longlora/internal/errs"
)

func env(pairs string) func(string) string {
	vars := map[string]string{}
	for _, pair := range strings.Fields(pairs) {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	return func(name string) string { return vars[name] }
}

// Which launcher's variables speak, what they say, and that half a set is refused by name.
func TestFromEnvironment(t *testing.T) {
	const (
		torch = "RANK=3 WORLD_SIZE=8 LOCAL_RANK=1 MASTER_ADDR=a MASTER_PORT=29500 "
		srun  = "SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=2 SLURM_LOCALID=1 SLURM_JOB_ID=77 SLURM_STEP_ID=0 SLURM_STEP_NODELIST=gpu[03-06,9],x "
		mpi   = "OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2 PMIX_NAMESPACE=n "
	)
	for name, c := range map[string]struct {
		env  string
		want Place // but for the token
		err  string
	}{
		"nothing":             {"", Place{Size: 1}, ""},
		"one":                 {"WORLD_SIZE=1 RANK=0", Place{Size: 1}, ""},
		"one, alone":          {"WORLD_SIZE=1", Place{Size: 1}, ""},
		"an address alone":    {"MASTER_ADDR=a MASTER_PORT=1 LOCAL_RANK=0", Place{Size: 1}, ""},
		"by hand":             {torch, Place{By: "RANK and WORLD_SIZE", Rank: 3, Size: 8, Local: 1, Addr: "a", Port: 29500, Ports: 1}, ""},
		"torchrun":            {torch + "TORCHELASTIC_RUN_ID=x TORCHELASTIC_USE_AGENT_STORE=True", Place{By: "torchrun's variables", Rank: 3, Size: 8, Local: 1, Addr: "a", Port: 29501, Ports: 16}, ""},
		"torchrun, no store":  {torch + "TORCHELASTIC_RUN_ID=x TORCHELASTIC_USE_AGENT_STORE=False", Place{By: "torchrun's variables", Rank: 3, Size: 8, Local: 1, Addr: "a", Port: 29500, Ports: 1}, ""},
		"torchrun under srun": {torch + srun, Place{By: "RANK and WORLD_SIZE", Rank: 3, Size: 8, Local: 1, Addr: "a", Port: 29500, Ports: 1}, ""},
		"Slurm":               {srun + "MASTER_PORT=5000", Place{By: "Slurm's variables", Rank: 2, Size: 4, Local: 1, Addr: "gpu03", Port: 5000, Ports: 1}, ""},
		"Slurm, an address":   {srun + "MASTER_PORT=5000 MASTER_ADDR=b", Place{By: "Slurm's variables", Rank: 2, Size: 4, Local: 1, Addr: "b", Port: 5000, Ports: 1}, ""},
		"a batch script":      {"SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_JOB_ID=1", Place{Size: 1}, ""},
		"a step of one":       {"SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0", Place{Size: 1}, ""},
		"Open MPI":            {mpi + "MASTER_PORT=5000", Place{By: "Open MPI's variables", Rank: 1, Size: 2, Local: 1, Addr: "127.0.0.1", Port: 5000, Ports: 1}, ""},
		"size alone":          {"WORLD_SIZE=2", Place{}, "WORLD_SIZE is set, but not RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT"},
		"rank alone":          {"RANK=0", Place{}, "RANK is set, but not WORLD_SIZE"},
		"no port":             {strings.Replace(torch, "MASTER_PORT=29500", "", 1), Place{}, "but not MASTER_PORT"},
		"no number":           {strings.Replace(torch, "RANK=3", "RANK=x", 1), Place{}, "RANK"},
		"a negative size":     {"WORLD_SIZE=-2", Place{}, "WORLD_SIZE"},
		"rank too large":      {strings.Replace(torch, "RANK=3", "RANK=8", 1), Place{}, "counted from 0"},
		"a port too large":    {strings.Replace(torch, "29500", "70000", 1), Place{}, "MASTER_PORT"},
		"half of Slurm's":     {"SLURM_STEP_NUM_TASKS=4", Place{}, "SLURM_PROCID"},
		"no nodes":            {strings.Replace(srun, "gpu[03-06,9],x", "", 1), Place{}, "SLURM_STEP_NODELIST"},
		"half of Open MPI's":  {"OMPI_COMM_WORLD_SIZE=4", Place{}, "OMPI_COMM_WORLD_RANK"},
		"MPI on two machines": {strings.Replace(mpi, "LOCAL_SIZE=2", "LOCAL_SIZE=1", 1), Place{}, "MASTER_ADDR"},
	} {
		got, err := FromEnvironment(env(c.env))
		if c.err != "" {
			if errs.Code(err) != 2 || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
			continue
		}
		if token := got.Token; err != nil || (len(token) > 0) != (got.Size > 1) {
			t.Errorf("%s: %v, token %q", name, err, token)
		}
		if got.Token = nil; got.By != c.want.By || got.Rank != c.want.Rank || got.Size != c.want.Size || got.Local != c.want.Local ||
			got.Addr != c.want.Addr || got.Port != c.want.Port || got.Ports != c.want.Ports {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	// the port that follows from a job's number is one for all its ranks, and other jobs have other tokens
	a, _ := FromEnvironment(env(srun))
	b, _ := FromEnvironment(env(strings.Replace(srun, "PROCID=2", "PROCID=0", 1)))
	other, _ := FromEnvironment(env(strings.Replace(srun, "STEP_ID=0", "STEP_ID=1", 1)))
	if a.Port != b.Port || a.Port < 1024 || a.Port+ports > 32768 || !bytes.Equal(a.Token, b.Token) || bytes.Equal(a.Token, other.Token) {
		t.Errorf("%+v, %+v, %+v", a, b, other)
	}
	first, _ := FromEnvironment(env(torch + "TORCHELASTIC_RUN_ID=x TORCHELASTIC_RESTART_COUNT=0"))
	again, _ := FromEnvironment(env(torch + "TORCHELASTIC_RUN_ID=x TORCHELASTIC_RESTART_COUNT=1"))
	secret, _ := FromEnvironment(env(torch + "TORCHELASTIC_RUN_ID=x TORCHELASTIC_RESTART_COUNT=0 " + TokenVariable + "=s"))
	if bytes.Equal(first.Token, again.Token) || bytes.Equal(first.Token, secret.Token) {
		t.Error("a restart, or a secret, has the same token")
	}
}

func TestFirstHost(t *testing.T) {
	for list, want := range map[string]string{"a": "a", "a,b": "a", "gpu[003-006,9],cpu1": "gpu003", "n[7]": "n7", "n[1,3]-ib": "n1-ib",
		"x,n[1-2]": "x", "r[1-2]c[4-5]": "r1c4", "": "", "n[1-2": ""} {
		if got := firstHost(list); got != want {
			t.Errorf("%q: %q, want %q", list, got, want)
		}
	}
}

func FuzzFirstHost(f *testing.F) {
	f.Add("gpu[003-006,9],cpu1")
	f.Fuzz(func(t *testing.T, list string) {
		if got := firstHost(list); len(got) > len(list) || strings.ContainsAny(got, ",") {
			t.Errorf("%q: %q", list, got)
		}
	})
}
