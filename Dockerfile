# docker build -t longlora .                    the CPU program
# docker build -t longlora --target cuda .      with the CUDA backend; run it with --gpus all
# Linted by hadolint 2.15.1.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -trimpath -o /longlora ./cmd/longlora

# 12.9 is the first whose cuBLASLt multiplies FP8 with a scale for each row.
FROM nvidia/cuda:12.9.1-devel-ubuntu22.04 AS build-cuda
COPY --from=golang:1.26-bookworm /usr/local/go /usr/local/go
ENV PATH=/usr/local/go/bin:$PATH CUDA_HOME=/usr/local/cuda
# Without versions: Ubuntu takes old ones away, and an image that names them cannot be built any more.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends build-essential git python3 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make cuda

FROM nvidia/cuda:12.9.1-runtime-ubuntu22.04 AS cuda
COPY --from=build-cuda /src/bin/longlora-cuda /usr/local/bin/longlora
WORKDIR /work
ENTRYPOINT ["longlora"]

FROM debian:bookworm-slim
COPY --from=build /longlora /usr/local/bin/longlora
WORKDIR /work
ENTRYPOINT ["longlora"]
