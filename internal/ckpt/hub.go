package ckpt

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// Resolve turns --model into a folder: the folder itself, or a Hugging Face name's snapshot in the local cache.
func Resolve(name string) (string, error) {
	if st, err := os.Stat(name); err == nil {
		if !st.IsDir() {
			return "", fileNotFolder(name)
		}
		return name, nil
	}
	org, repo, ok := strings.Cut(name, "/")
	if !ok || org == "" || org == "." || org == ".." || repo == "" || strings.Contains(repo, "/") {
		return "", errs.Dataf("%s: no such folder", name)
	}
	cache := HubCache()
	if cache == "" {
		return "", errs.Dataf("%s: no such folder, and no cache to look it up in: HOME is not set; set HF_HOME", name)
	}
	return snapshot(name, filepath.Join(cache, "models--"+org+"--"+repo))
}

// HubModels are the names of the models in the local cache.
func HubModels() (names []string) {
	entries, _ := os.ReadDir(HubCache()) // where there is none there are no models
	for _, e := range entries {
		if model, ok := strings.CutPrefix(e.Name(), "models--"); ok {
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
		if some, _ := filepath.Glob(filepath.Join(quoteGlob(root), "snapshots", "*", "config.json")); len(some) > 0 && !exists(path) {
			return "", errs.Dataf("%s: the local cache has it at a revision of its own, not at main; name the folder: --model %s", name, filepath.Dir(some[0]))
		}
		if exists(path) {
			return "", err
		}
		return "", errs.Dataf("%s: neither a folder nor in the local cache (%s); download it with: hf download %s", name, root, name)
	}
	ref := strings.TrimSpace(string(b))
	if !plainRef.MatchString(ref) {
		return "", errs.Dataf("%s: %.100q is no commit; remove %s and download it again with: hf download %s", path, ref, root, name)
	}
	dir := filepath.Join(root, "snapshots", ref)
	if !exists(dir) {
		return "", errs.Dataf("%s: not in the local cache (%s), which only knows its commit; download it with: hf download %s", name, dir, name)
	}
	if !inside(dir, root) {
		return "", errs.Dataf("%s: leads out of the cache; remove %s and download it again with: hf download %s", dir, root, name)
	}
	return dir, nil
}

// quoteGlob keeps a path's own letters from being read as a pattern.
func quoteGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// inside reports whether a path, through all its links, lies in a folder or is it.
func inside(path, dir string) bool {
	p, err1 := filepath.EvalSymlinks(path)
	d, err2 := filepath.EvalSymlinks(dir)
	if err1 != nil || err2 != nil {
		return false
	}
	p, err1 = filepath.Abs(p)
	d, err2 = filepath.Abs(d)
	if err1 != nil || err2 != nil {
		return false
	}
	rel, err := filepath.Rel(d, p)
	return err == nil && filepath.IsLocal(rel)
}

// HubCache is the folder of the local Hugging Face cache, as huggingface_hub finds it: HF_HUB_CACHE, its older name
// HUGGINGFACE_HUB_CACHE, HF_HOME/hub, or the default below XDG_CACHE_HOME or ~/.cache; a ~ and variables in them are
// filled in. "" where that takes a home folder and there is none.
func HubCache() string {
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
