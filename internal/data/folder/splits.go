package folder

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// split is a part of a data set by what it is for.
type split int

const (
	noSplit split = iota
	train
	validation
	test
)

// keywords are the words by which the names of files and folders tell a split
// (https://huggingface.co/docs/datasets/repository_structure).
var keywords = map[string]split{
	"train": train, "training": train,
	"validation": validation, "valid": validation, "dev": validation, "val": validation,
	"test": test, "testing": test, "eval": test, "evaluation": test,
}

// delimiters stand before and after a keyword within a name.
const delimiters = "-._ 0123456789"

// splitIn is the split that a name tells. In a file's name something must follow the keyword, an extension at least. Of
// several the one to train on comes first, as it is looked for first.
func splitIn(name string, isFile bool) split {
	found := noSplit
	words := strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(delimiters, r) })
	for i, w := range words {
		s := keywords[w]
		if s == noSplit || isFile && i == len(words)-1 && strings.HasSuffix(name, w) {
			continue
		}
		if found == noSplit || s < found {
			found = s
		}
	}
	return found
}

// byFolder is the split that the folders of a path tell.
func byFolder(file string) split {
	found := noSplit
	dir := path.Dir(file)
	if dir == "." {
		return noSplit
	}
	for _, name := range strings.Split(dir, "/") {
		if s := splitIn(name, false); s != noSplit && (found == noSplit || s < found) {
			found = s
		}
	}
	return found
}

// byFile is the split that a file's own name tells.
func byFile(file string) split { return splitIn(path.Base(file), true) }

// sharded is how data sets on the Hub name their files; any word may be the split.
var sharded = regexp.MustCompile(`^data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*$`)

// byShard is the split of a file that is named so. It is known only where there is one that is called train.
func byShard(file string) split {
	switch m := sharded.FindStringSubmatch(file); {
	case m == nil:
		return noSplit
	case m[1] == "train":
		return train
	}
	return test
}

// otherSplits are the files, by their paths relative to a folder, that belong to other splits than the one to train
// on. The rules are tried in the order of Hugging Face's datasets: what the card says, shards in data/, then folders'
// names, then files'. Where none of them finds a file to train on nothing is left out; a file that no rule speaks of
// stays.
func otherSplits(files []string, byCard func(string) split) map[string]bool {
	other := map[string]bool{}
	for _, rule := range []func(string) split{byCard, byShard, byFolder, byFile} {
		if !slices.ContainsFunc(files, func(f string) bool { return rule(f) == train }) {
			continue
		}
		for _, f := range files {
			s := rule(f)
			if s == noSplit {
				s = byFolder(f)
			}
			if s == noSplit {
				s = byFile(f)
			}
			other[f] = s != train && s != noSplit
		}
		break
	}
	return other
}
