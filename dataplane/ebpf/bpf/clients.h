/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_CLIENTS_H
#define NLB_CLIENTS_H

/* The clients of rules that keep them on their member: docs/DECISION.md, "Clients that
 * stay". portrules.Clients and Decision.kept are the same in Go. */

#include "packet.h"

/* Of services that set up tunnels: portrules/protocol.go. */
#define PORT_PPTP 1723
#define PORT_IKE 500
#define PORT_IKE_NAT 4500

/* What is judged by rule and bucket: a packet of a client, or an ICMP error about one. */
struct flow {
	struct addr client, vip;
	__be16 port, vip_port;
	__u16 segment; /* offset of the TCP header, 0 where there is none */
	__u8 protocol;
	bool v6, syn, error;
};

#define KEEP_GUARD 1000 /* ms, portrules.KeepGuard */
#define NS_PER_MS 1000000ULL

/* service_of says by which rules a protocol goes: portrules.service. */
static __always_inline __u32 service_of(__u8 protocol)
{
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_GRE)
		return IN_TCP;
	return protocol == IPPROTO_SCTP ? IN_SCTP : IN_UDP;
}

/* keep_of is how long a rule keeps a client that falls silent, as in struct keep. */
static __always_inline __u32 keep_of(const struct policy *policy, __u32 rule, __u8 protocol)
{
	__u32 service = service_of(protocol);
	struct keep *keeps;

	if (rule >= MAX_RULES || !(policy->head->keeping[service][rule / 8] >> (rule % 8) & 1))
		return 0;
	keeps = page(policy->pages, policy->head->keeps);
	if (!keeps)
		return 0;
	return keeps[rule].ms[service];
}

/* is_flow: portrules.isFlow. */
static __always_inline bool is_flow(const struct flow *flow)
{
	return flow->protocol == IPPROTO_UDP && flow->vip_port != bpf_htons(PORT_IKE) &&
	       flow->vip_port != bpf_htons(PORT_IKE_NAT);
}

static __always_inline void note(const struct client *key, struct known *known, const struct flow *flow,
				 __u64 now, bool mine)
{
	struct known first = { .addr = flow->client, .seen = now, .port = flow->port, .mine = mine };

	if (flow->error) /* it is not the client who is heard */
		return;
	if (!known) {
		bpf_map_update_elem(&clients, key, &first, BPF_ANY);
		return;
	}
	known->seen = now;
	known->mine = mine;
}

/* kept looks at the client before the flags of its bucket are applied (12).
 * REASON_NOT_VIP: the flags decide. */
static __always_inline enum reason kept(const struct flow *flow, __u32 flags, const struct client *key,
					__u32 keep)
{
	__u64 limit = (keep & ~BY_FLOW) * NS_PER_MS;
	bool opens = flow->syn || flow->protocol != IPPROTO_TCP;
	struct known *known = bpf_map_lookup_elem(&clients, key);
	__u64 now = bpf_ktime_get_coarse_ns(), silent = 0;
	bool mine = false, other = false;

	if (known) {
		if (now > known->seen)
			silent = now - known->seen;
		mine = known->mine && silent < limit;
		other = !known->mine && silent < limit + KEEP_GUARD * NS_PER_MS;
	}
	if ((flags & (OWN | FOREIGN)) == (OWN | FOREIGN)) {
		if (other || opens || mine)
			note(key, known, flow, now, !other);
		return other && opens ? REASON_FOREIGN_HELD : REASON_NOT_VIP;
	}
	mine = flags & OWN || (flags & RESIDUAL && mine);
	note(key, known, flow, now, mine);
	if (flags & OWN || !mine || !opens)
		return REASON_NOT_VIP;
	return flow->syn ? REASON_NEW : REASON_RESIDUAL;
}

#endif
