package cli

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/testkit"
)

// What is given for something that is not asked for is said to have no effect; what a shared file gives is not.
func TestIdleOptions(t *testing.T) {
	t.Chdir(t.TempDir())
	for line, want := range map[string]string{
		"eval --task=passkey --stride=4":                          "--stride has no effect: it is for --task ppl",
		"eval --task=topics --data=d --depths=3":                  "--data has no effect: it is for --task ppl; --depths has no effect: it is for --task passkey",
		"eval --task=ruler --limit=3 --trials=2":                  "",
		"eval --task=ppl --data=d --trials=2":                     "--trials has no effect: it is for --task passkey, topics, ruler",
		"eval --task=ppl --data=d --group=0.5":                    "--group has no effect under --attn full",
		"eval --task=ppl --data=d --attn=s2 --group=1":            "",
		"eval --task=passkey,ppl --data=d --stride=4":             "",
		"eval --task=ppl,ppl,ppl --data=d":                        "--task: ppl is given more than once, and is done once",
		"eval --task=ruler --ctx=64 --model=m":                    "--ctx: 64 is given more than once, and is done once; --model: m is given more than once, and is done once",
		"eval --task=ppl --data=d --protocol=sliding --stride=64": "",
		"eval --task=ppl --data=d --protocol=sliding --stride=65": "--stride 65 is longer than --ctx 64: tokens between " +
			"windows are in none, and are not scored",
		"generate --prompt=p --top-p=0.5 --seed=1":     "--top-p, --seed have no effect without --temperature: the most probable token is taken",
		"generate --prompt=p --temperature=1 --seed=1": "",
		"prepare --data=d --out=o --ctx=64":            "--ctx has no effect without --stats",
		"prepare --data=d --out=o --ctx=64 --stats":    "",
	} {
		words := strings.Fields(line)
		fs := pflag.NewFlagSet(words[0], pflag.ContinueOnError)
		Define(words[0], fs)
		args := slices.Concat(words[1:], []string{"--model=m"})
		if words[0] == "eval" {
			args = append(args, "--ctx=64")
		}
		if err := fs.Parse(args); err != nil {
			t.Fatal(err)
		}
		v, err := Load(fs)
		if err == nil {
			err = commands[words[0]].make(v)
		}
		if got := strings.Join(v.Notes(), "; "); err != nil || got != want {
			t.Errorf("%s: %v, %q; want %q", line, err, got, want)
		}
	}
}

// A model is done once, however it is named: by its folder, a link to it, or its name in the local cache.
func TestOneModel(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HF_HUB_CACHE", "cache")
	testkit.Write(t, "cache/models--org--smol/refs/main", "abc")
	testkit.Write(t, "cache/models--org--smol/snapshots/abc/config.json", "{}")
	testkit.Write(t, "other/config.json", "{}")
	const smol = "cache/models--org--smol/snapshots/abc"
	if err := os.Symlink(smol, "link"); err != nil {
		t.Fatal(err)
	}
	fs := pflag.NewFlagSet("eval", pflag.ContinueOnError)
	Define("eval", fs)
	args := []string{"--task=passkey", "--ctx=64"}
	for _, m := range []string{"org/smol", smol, "./" + smol + "/", "link", "link", "other", "other/", "gone", "gone/"} {
		args = append(args, "--model="+m)
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	v, err := Load(fs)
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := v.Eval()
	if got := strings.Join(o.Models, " "); err != nil || got != "org/smol other gone gone/" {
		t.Errorf("the models are %s (%v)", got, err)
	}
	const also = " is org/smol, which is given too, and is done once\n--model: "
	want := "--model: " + smol + also + "./" + smol + "/" + also + "link" + also +
		"other/ is other, which is given too, and is done once"
	if got := strings.Join(v.Notes(), "\n"); got != want {
		t.Errorf("the notes are\n%s\nwant\n%s", got, want)
	}
}
