/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_REJECT_H
#define NLB_REJECT_H

#include "maps.h"

#define REJECT_PERIOD (16ULL * 1000 * 1000) /* ns */
#define REJECT_BURST 16			    /* in a period: a thousand per second */

struct {
	__u64 since;
	__u32 left;
} rejections;

/* may_reject bounds what a flood can make this member send. Two CPUs may both take the
 * last one: the bound is a rough one. */
static __always_inline bool may_reject(__u64 now)
{
	if (now - rejections.since >= REJECT_PERIOD) {
		rejections.since = now;
		rejections.left = REJECT_BURST;
	}
	if (!rejections.left)
		return false;
	rejections.left--;
	return true;
}

/* reject hands the beginning of a frame to the agent, which answers it (portrules.Rejection). */
static __noinline void reject(struct __sk_buff *skb, __u64 now)
{
	__u32 length = skb->len < SAMPLE_LENGTH ? skb->len : SAMPLE_LENGTH;
	struct sample *s;

	if (!length || !may_reject(now))
		return;
	s = bpf_ringbuf_reserve(&rejected, sizeof(*s), 0);
	if (!s)
		return;
	s->length = length;
	s->unused = 0;
	if (bpf_skb_load_bytes(skb, 0, s->bytes, length))
		bpf_ringbuf_discard(s, 0);
	else
		bpf_ringbuf_submit(s, 0);
}

#endif
