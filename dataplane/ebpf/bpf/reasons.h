/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_REASONS_H
#define NLB_REASONS_H

/* Why a frame left the decision where it did: portrules/reason.go, number by
 * number. A test compares the two. */
enum reason {
	REASON_NOT_VIP,
	REASON_NEW,
	REASON_OWNER,
	REASON_ESTABLISHED,
	REASON_RESIDUAL,
	REASON_DEFAULT_HOST,
	REASON_FRAGMENT_OF,
	REASON_NEIGHBOR_REPLY,
	REASON_LEASE_OVER,
	REASON_NOT_OWNER,
	REASON_NOT_DEFAULT,
	REASON_RULE_DISABLED,
	REASON_FOREIGN_HELD,
	REASON_STRAY_FRAGMENT,
	REASON_NEIGHBOR,
	REASON_MALFORMED,
	REASON_FENCED,
	REASON_BEACON,
	REASON_BEACON_FORGED,
	REASON_BEACON_REPLAYED,
	REASON_REJECTED,
	NUM_REASONS,
};

/* Reasons are sorted: pass, then accept, then drop. */
#define IS_DROP(reason) ((reason) >= REASON_LEASE_OVER)

#endif
