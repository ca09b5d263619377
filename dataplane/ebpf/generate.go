package ebpf

// Needs clang, llvm-strip and the headers of libbpf; the results are committed, so
// that building needs Go only.

//go:generate go tool bpf2go -target bpfel,bpfeb -type reason -type head -type rule -type addr -type beacon -type traced -type sample nlb bpf/nlb.c -- -O2 -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
