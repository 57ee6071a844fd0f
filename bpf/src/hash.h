/*
 * Which bucket a flow belongs to: SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, with
 * one round a word and three at the end) over its two ends, the lower one first, so that both directions agree.
 * hash.rs computes the same. Nobody who lacks the key can choose flows that all end on one core.
 *
 * The bytes hashed are address and port of the lower end, then of the higher, in network order: 12 for IPv4, 36 for
 * IPv6. They are never laid out in memory: the words of SipHash are put together from the parts.
 */
#ifndef CORELANE_HASH_H
#define CORELANE_HASH_H

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

#define HASHED_IPV4 12ULL
#define HASHED_IPV6 36ULL

struct siphash {
	__u64 v0, v1, v2, v3;
};

static __always_inline __u64 rotated(__u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

static __always_inline void sip_round(struct siphash *state)
{
	state->v0 += state->v1;
	state->v1 = rotated(state->v1, 13) ^ state->v0;
	state->v0 = rotated(state->v0, 32);
	state->v2 += state->v3;
	state->v3 = rotated(state->v3, 16) ^ state->v2;
	state->v0 += state->v3;
	state->v3 = rotated(state->v3, 21) ^ state->v0;
	state->v2 += state->v1;
	state->v1 = rotated(state->v1, 17) ^ state->v2;
	state->v2 = rotated(state->v2, 32);
}

static __always_inline struct siphash sip_begin(__u64 k0, __u64 k1)
{
	return (struct siphash){
		.v0 = k0 ^ 0x736f6d6570736575ULL,
		.v1 = k1 ^ 0x646f72616e646f6dULL,
		.v2 = k0 ^ 0x6c7967656e657261ULL,
		.v3 = k1 ^ 0x7465646279746573ULL,
	};
}

static __always_inline void sip_word(struct siphash *state, __u64 word)
{
	state->v3 ^= word;
	sip_round(state);
	state->v0 ^= word;
}

static __always_inline __u64 sip_end(struct siphash *state)
{
	state->v2 ^= 0xff;
	sip_round(state);
	sip_round(state);
	sip_round(state);
	return state->v0 ^ state->v1 ^ state->v2 ^ state->v3;
}

/* An IPv4 end as one number that compares as its bytes do. */
static __always_inline __u64 ipv4_order(const struct end *end)
{
	return (__u64)bpf_ntohl(end->address.word[3]) << 16 | bpf_ntohs(end->port);
}

static __always_inline __u64 hash_ipv4(struct siphash state, const struct flow *flow)
{
	int local_first = ipv4_order(&flow->local) <= ipv4_order(&flow->remote);
	const struct end *low = local_first ? &flow->local : &flow->remote;
	const struct end *high = local_first ? &flow->remote : &flow->local;
	__u64 low_address = low->address.word[3], low_port = low->port;
	__u64 high_address = high->address.word[3], high_port = high->port;

	sip_word(&state, low_address | low_port << 32 | high_address << 48);
	sip_word(&state, high_address >> 16 | high_port << 16 | HASHED_IPV4 << 56);
	return sip_end(&state);
}

/* Two words of an address as the eight bytes that they are, for SipHash. */
static __always_inline __u64 pair(const struct address *address, int first)
{
	return (__u64)address->word[first + 1] << 32 | address->word[first];
}

static __always_inline int is_ordered_ipv6(const struct end *a, const struct end *b)
{
	__u64 x = bpf_be64_to_cpu(pair(&a->address, 0)), y = bpf_be64_to_cpu(pair(&b->address, 0));

	if (x != y)
		return x < y;
	x = bpf_be64_to_cpu(pair(&a->address, 2));
	y = bpf_be64_to_cpu(pair(&b->address, 2));
	if (x != y)
		return x < y;
	return bpf_ntohs(a->port) <= bpf_ntohs(b->port);
}

static __always_inline __u64 hash_ipv6(struct siphash state, const struct flow *flow)
{
	int local_first = is_ordered_ipv6(&flow->local, &flow->remote);
	const struct end *low = local_first ? &flow->local : &flow->remote;
	const struct end *high = local_first ? &flow->remote : &flow->local;
	__u64 first = pair(&high->address, 0), second = pair(&high->address, 2);

	sip_word(&state, pair(&low->address, 0));
	sip_word(&state, pair(&low->address, 2));
	sip_word(&state, low->port | first << 16);
	sip_word(&state, first >> 48 | second << 16);
	sip_word(&state, second >> 48 | (__u64)high->port << 16 | HASHED_IPV6 << 56);
	return sip_end(&state);
}

static __always_inline __u32 flow_hash(__u64 k0, __u64 k1, const struct flow *flow, int is_ipv4)
{
	struct siphash state = sip_begin(k0, k1);

	return is_ipv4 ? hash_ipv4(state, flow) : hash_ipv6(state, flow);
}

#endif
