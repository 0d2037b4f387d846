# docker build -t longlora .                    the CPU program
# docker build -t longlora --target cuda .      with the CUDA backend; run it with --gpus all
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -trimpath -buildvcs=false -o /longlora ./cmd/longlora

FROM nvidia/cuda:12.8.1-devel-ubuntu22.04 AS build-cuda
COPY --from=golang:1.26-bookworm /usr/local/go /usr/local/go
ENV PATH=/usr/local/go/bin:$PATH CUDA_HOME=/usr/local/cuda
RUN apt-get update && apt-get install -y --no-install-recommends build-essential python3 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make cuda

FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04 AS cuda
COPY --from=build-cuda /src/bin/longlora-cuda /usr/local/bin/longlora
WORKDIR /work
ENTRYPOINT ["longlora"]

FROM debian:bookworm-slim
COPY --from=build /longlora /usr/local/bin/longlora
WORKDIR /work
ENTRYPOINT ["longlora"]
