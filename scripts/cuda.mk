# The CUDA build, started by `make cuda`: kernels into build/cuda/liblonglora.a, then the program with -tags cuda.
# CUDA_ARCH=90a (80, 86, ...) compiles for one architecture alone, which is quicker.

OUT := build/cuda
include $(OUT)/toolchain.mk

# Machine code for Ampere and Ada (sm_80), for Hopper with its own instructions (sm_90a), and PTX that the
# driver translates for later chips.
ifdef CUDA_ARCH
GENCODE := -gencode arch=compute_$(CUDA_ARCH),code=sm_$(CUDA_ARCH)
else
GENCODE := -gencode arch=compute_80,code=[sm_80,compute_80] -gencode arch=compute_90a,code=sm_90a
endif
HOPPER := -gencode arch=compute_90a,code=sm_90a

NVCC := PATH="$(CUDA_ROOT)/bin:$$PATH" nvcc
NVCCFLAGS := -std=c++17 -O3 --expt-relaxed-constexpr -Xcompiler -fPIC,-Wall,-Wno-unknown-pragmas \
    $(addprefix -I,$(wildcard $(CUDA_ROOT)/include/cccl))
OBJ := $(OUT)/obj$(addprefix -,$(CUDA_ARCH))
SRC := csrc/cuda
OBJECTS := $(patsubst $(SRC)/%.cu,$(OBJ)/%.o,$(wildcard $(SRC)/*.cu $(SRC)/*/*.cu))

export CGO_CFLAGS := -O2 -g -I$(CURDIR)/$(SRC)/driver -I$(CUDA_ROOT)/include
export CGO_LDFLAGS := -O2 -g -L$(CURDIR)/$(OUT) -L$(CUDA_LIB)
# Go does not see the library's contents; its checksum in a variable makes it link anew.
GOFLAGS_CUDA = -tags cuda -ldflags "-X longlora/internal/ops/cuda.kernels=$$(sha256sum < $(OUT)/liblonglora.a | head -c 16)"

.PHONY: all objects check
all: objects
	go build $(GOFLAGS_CUDA) -o bin/longlora-cuda ./cmd/longlora

# test binaries for a machine with a GPU: build/cuda/test/*.test, to be run in the folders of their packages
check: objects
	mkdir -p $(OUT)/test
	go vet -tags cuda ./internal/ops/cuda
	@! nm --defined-only $(OUT)/liblonglora.a 2>/dev/null | grep ' [bBdD] ' | grep -v $(NVCCS) || \
	    { echo "the kernels keep state of their own: put it into ll_device" >&2; exit 1; }
	for p in $(CHECK); do go test -c $(GOFLAGS_CUDA) -o $(OUT)/test/$$(basename $$p).test ./$$p || exit 1; done
# what the compiler itself keeps: handles of the kernels' code, and the standard library's streams
NVCCS := -e __device_stub__ -e __fatDeviceText -e __cudaFatCubinHandle -e __ioinit
CHECK ?= internal/ops/cuda internal/model internal/load internal/machine internal/plan

objects: $(OUT)/liblonglora.a $(OUT)/libcuda.a

# rebuilt whenever the list of objects changes, so that none of a deleted source stays in it
$(OUT)/liblonglora.a: $(OBJECTS) $(OBJ)/list
	rm -f $@
	ar rcs $@ $(OBJECTS)

$(OBJ)/list: FORCE
	@mkdir -p $(@D)
	@echo '$(OBJECTS)' | cmp -s - $@ || echo '$(OBJECTS)' > $@

$(OBJ)/%_sm90.o: $(SRC)/%_sm90.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) $(HOPPER) -MD -MF $(@:.o=.d) -c $< -o $@

$(OBJ)/%.o: $(SRC)/%.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) $(GENCODE) -MD -MF $(@:.o=.d) -c $< -o $@

# takes the place of the driver's library at link time
$(OUT)/libcuda.a: $(SRC)/driver/forward.c
	$(CC) -O2 -Wall -fPIC -c $< -o $(OUT)/forward.o
	rm -f $@
	ar rcs $@ $(OUT)/forward.o

$(OUT)/toolchain.mk: scripts/cuda-toolchain.sh
	scripts/cuda-toolchain.sh $@

-include $(wildcard $(OBJ)/*.d $(OBJ)/*/*.d)

FORCE:
