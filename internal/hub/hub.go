// Package hub finds models in the local Hugging Face cache. It never asks the network.
package hub

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// plainName is the form org/name, of the characters that names have there.
var plainName = regexp.MustCompile(`^[0-9A-Za-z_-][0-9A-Za-z_.-]*/[0-9A-Za-z_-][0-9A-Za-z_.-]*$`)

// IsName reports whether a name is of the form org/name, as a model has one there.
func IsName(name string) bool { return plainName.MatchString(name) }

// address is the page about a model, which is easily taken for its name.
var address = regexp.MustCompile(`^(?:https?://)?(?:huggingface\.co|hf\.co)/([^/]+/[^/@?#]+)`)

// absent says that what is called so is neither a folder nor a name.
func absent(name string) error {
	if m := address.FindStringSubmatch(name); m != nil && IsName(m[1]) {
		return errs.Dataf("%s: an address, from which nothing is loaded; give the model's name: %s %s", name,
			errs.Option("model"), m[1])
	}
	if short, revision, ok := strings.Cut(name, "@"); ok && IsName(short) && revision != "" {
		return errs.Dataf("%s: no such folder, and a name has no revision; download it with: hf download %s --revision %s, "+
			"and give the folder that this prints", name, short, errs.Quoted(revision))
	}
	return errs.Dataf("%s: no such folder", name)
}

// Download is the command that completes the snapshot of a cache that a folder is, "" where it is none.
func Download(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	root := filepath.Dir(filepath.Dir(dir))
	id, ok := strings.CutPrefix(filepath.Base(root), repoPrefix)
	name := strings.Replace(id, "--", "/", 1)
	if !ok || filepath.Base(filepath.Dir(dir)) != "snapshots" || !IsName(name) {
		return ""
	}
	command := "hf download " + name
	if b, err := files.Read(filepath.Join(root, "refs", "main"), 1<<12); err != nil ||
		strings.TrimSpace(string(b)) != filepath.Base(dir) {
		command += " --revision " + errs.Quoted(filepath.Base(dir))
	}
	return command
}

// Snapshot is the folder of org/name in the local cache, at its revision main.
func Snapshot(name string) (string, error) {
	if !IsName(name) {
		return "", absent(name)
	}
	cache := Cache()
	if cache == "" {
		return "", errs.Dataf("%s: no such folder, and no cache to look it up in: HOME is not set; set HF_HOME", name)
	}
	return snapshot(name, filepath.Join(cache, repoPrefix+strings.Replace(name, "/", "--", 1)))
}

// repoPrefix begins the name of a model's folder in a cache.
const repoPrefix = "models--"

// Models are the names of the models in the local cache.
func Models() (names []string) {
	entries, _ := os.ReadDir(Cache()) // where there is none there are no models
	for _, e := range entries {
		if model, ok := strings.CutPrefix(e.Name(), repoPrefix); ok {
			names = append(names, strings.ReplaceAll(model, "--", "/"))
		}
	}
	return names
}

// plainRef is what stands in refs/main: a commit, which names a folder beside the others.
var plainRef = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_.-]{0,127}$`)

// snapshot is the folder in a repository's cache that its refs/main names.
func snapshot(name, root string) (string, error) {
	path := filepath.Join(root, "refs", "main")
	b, err := files.Read(path, 1<<12)
	if err != nil {
		if some := files.Glob(root, "snapshots/*/config.json"); len(some) > 0 && !files.Exists(path) {
			return "", errs.Dataf("%s: the local cache has it at a revision of its own, not at main; name the folder: %s %s",
				name, errs.Option("model"), filepath.Dir(some[0]))
		}
		if files.Exists(path) {
			return "", err
		}
		return "", errs.Dataf("%s: neither a folder nor in the local cache (%s); download it with: hf download %s", name,
			root, name)
	}
	ref := strings.TrimSpace(string(b))
	if !plainRef.MatchString(ref) {
		return "", errs.Dataf("%s: %.100q is no commit; remove %s and download it again with: hf download %s", path, ref,
			root, name)
	}
	dir := filepath.Join(root, "snapshots", ref)
	if !files.Exists(dir) {
		return "", errs.Dataf("%s: not in the local cache (%s), which only knows its commit; download it with: hf download "+
			"%s", name, dir, name)
	}
	if !files.Inside(dir, root) {
		return "", errs.Dataf("%s: leads out of the cache; remove %s and download it again with: hf download %s", dir, root,
			name)
	}
	return dir, nil
}

// Owns reports whether a file is a model's own: it lies in the model's folder, or, where that is a snapshot in a cache,
// among the same repository's blobs. A folder of another place may have links into the cache, as hf download has made
// them there.
func Owns(dir, path string) bool {
	if files.Inside(path, dir) {
		return true
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	snapshots := filepath.Dir(real)
	if repo := filepath.Dir(snapshots); filepath.Base(snapshots) == "snapshots" && strings.HasPrefix(filepath.Base(repo),
		repoPrefix) {
		return files.Inside(path, filepath.Join(repo, "blobs"))
	}
	if cache := Cache(); cache != "" {
		blobs := files.Glob(cache, repoPrefix+"*/blobs")
		return slices.ContainsFunc(blobs, func(b string) bool { return files.Inside(path, b) })
	}
	return false
}

// Cache is the folder of the local Hugging Face cache, as huggingface_hub finds it: HF_HUB_CACHE, its older name
// HUGGINGFACE_HUB_CACHE, HF_HOME/hub, or the default below XDG_CACHE_HOME or ~/.cache; a ~ and variables in them are
// filled in. "" where that takes a home folder and there is none.
func Cache() string {
	for _, v := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if d := os.Getenv(v); d != "" {
			return expand(d)
		}
	}
	home := os.Getenv("HF_HOME")
	if home == "" {
		cache := os.Getenv("XDG_CACHE_HOME")
		if cache == "" {
			cache = "~/.cache"
		}
		home = filepath.Join(cache, "huggingface")
	}
	if home = expand(home); home == "" {
		return ""
	}
	return filepath.Join(home, "hub")
}

// expand fills in a leading ~ and the variables of a path; one that is not set stays as it is written, as in Python.
func expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/') {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		path = home + rest
	}
	return os.Expand(path, func(name string) string {
		if v, ok := os.LookupEnv(name); ok {
			return v
		}
		return "${" + name + "}"
	})
}
