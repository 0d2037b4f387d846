# longlora: build, test and measure. Needs Go, a C compiler and make; `make cuda` what docs/cuda.md says.

BIN := bin/longlora
PREFIX := $(HOME)/.local
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: all cuda cuda-check test race fuzz nocgo demo lint golangci docs install bench release clean

all: $(BIN)

$(BIN): FORCE
	go build -o $@ ./cmd/longlora

FORCE:

# the program with the CUDA backend too: docs/cuda.md
cuda:
	+$(MAKE) -f scripts/cuda.mk -j$$(nproc) all

# test binaries for a machine with a GPU
cuda-check:
	+$(MAKE) -f scripts/cuda.mk -j$$(nproc) check

test:
	go test ./...

# the packages whose code runs concurrently; without what takes minutes there and does one thing after the other
race:
	go test -race -short ./internal/ops ./internal/ops/cpu ./internal/par ./internal/files ./internal/tokenizer ./internal/data/... ./internal/dist

# every fuzz target, 10 seconds each, as many at a time as there are cores; FUZZ_SECONDS changes that
fuzz:
	scripts/fuzz.sh $(or $(FUZZ_SECONDS),10)

# without C: the packages in whose tests it takes part. Without its kernels what would take minutes is left out
nocgo:
	CGO_ENABLED=0 go build ./...
	CGO_ENABLED=0 go test -short $$(go list -test -f '{{.ImportPath}}: {{join .Deps " "}}' ./... | \
		sed -n 's/\.test: .*longlora\/\(csrc\/cpu\|internal\/proc\)\b.*//p')

# extends the bundled model to 4 times its length on the CPU, in about two minutes
demo: $(BIN)
	scripts/demo.sh $(BIN)

lint:
	test -z "$$(gofmt -l cmd internal csrc scripts)"
	go vet ./...
	go run $(STATICCHECK) ./...

# more linters; not in CI, because building them takes minutes
golangci:
	go run $(GOLANGCI) run ./...

# docs/cli.md, from the commands
docs:
	go test ./cmd/longlora -run TestCLIDoc -rewrite

# the program (bin/longlora-cuda where it was made), its manual pages and shell completion; under DESTDIR for a package
install: to := "$(DESTDIR)$(PREFIX)"
install: $(BIN)
	install -Dm755 $(firstword $(wildcard $(BIN)-cuda) $(BIN)) $(to)/bin/longlora
	$(BIN) man --out $(to)/share/man/man1
	install -d $(to)/share/bash-completion/completions $(to)/share/zsh/site-functions $(to)/share/fish/vendor_completions.d
	$(BIN) completion bash > $(to)/share/bash-completion/completions/longlora
	$(BIN) completion zsh > $(to)/share/zsh/site-functions/_longlora
	$(BIN) completion fish > $(to)/share/fish/vendor_completions.d/longlora.fish

# real steps of the tiny shape; products beside OpenBLAS where it is installed
bench: $(BIN)
	$(BIN) bench --shape tiny --ctx 1024,4096,8192
	-go run ./scripts/benchproducts

# what a release consists of, in build/release; CUDA=1 with the CUDA program
release:
	scripts/release.sh

clean:
	rm -rf bin build/cuda build/fuzz
