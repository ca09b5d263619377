//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* siphash.h as compiled for the kernel: the frame is two key words, then the
 * message blocks; each program writes the hash over the first word. */

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "siphash.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PROGRAM(name, c, d, n)                                                          \
	SEC("xdp") int name(struct xdp_md *xdp)                                         \
	{                                                                               \
		__u64 *w = (void *)(long)xdp->data;                                     \
		__u64 words[n];                                                         \
                                                                                        \
		if ((void *)(w + 2 + n) > (void *)(long)xdp->data_end)                  \
			return XDP_ABORTED;                                             \
		for (int i = 0; i < n; i++)                                             \
			words[i] = w[2 + i];                                            \
		w[0] = siphash_words(c, d, w[0], w[1], words, n);                       \
		return XDP_PASS;                                                        \
	}

PROGRAM(sip13_1, 1, 3, 1)
PROGRAM(sip13_2, 1, 3, 2)
PROGRAM(sip13_3, 1, 3, 3)
PROGRAM(sip24_1, 2, 4, 1)
PROGRAM(sip24_2, 2, 4, 2)
PROGRAM(sip24_3, 2, 4, 3)
