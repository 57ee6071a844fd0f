/*
 * From bytes to the few facts that steering needs. A cursor walks over the headers; each take is checked against the
 * end of the packet, so no header is read that is not there whole. What isn't understood is named by the counter
 * under which it passes.
 */
#ifndef CORELANE_PARSE_H
#define CORELANE_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

/* Filled in by the loader. The name of the section is how it finds the map. */
const volatile struct settings settings SEC(".rodata.settings");

#define ARP_HARDWARE_ETHERNET 1
#define VLAN_ID_MASK 0xfff
#define IPV4_LONGEST_HEADER 15 /* RFC 791 3.1: in words of 4 bytes */
#define IPV4_FRAGMENT_OFFSET 0x1fff /* RFC 791 3.1: the low 13 bits, in units of 8 bytes */

/* As <linux/if_ether.h> has it, but for being packed: the type is one load. */
struct ethernet_header {
	__u8 addresses[2 * ETH_ALEN];
	__be16 type;
};

/* IEEE 802.1Q: the tag after the type 0x8100. */
struct vlan_header {
	__be16 control;
	__be16 type;
};

/* RFC 826 for Ethernet and IPv4. Packed, as the addresses lie at odd places. (<linux/if_arp.h> wants the C library.) */
struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender;
	__u8 target_mac[ETH_ALEN];
	__be32 target;
} __attribute__((packed));

enum kind { KIND_ARP, KIND_NEIGHBOUR, KIND_ICMP, KIND_TCP };

struct packet {
	enum kind kind;
	__u8 is_ipv4;
	__u8 is_later_fragment; /* there is no header after IPv4's */
	/*
	 * The ports in `flow` are those of a TCP header: the packet's own, or the one that an ICMP error quotes.
	 * Else they are 0, and the addresses alone are hashed.
	 */
	__u8 has_ports;
	struct flow flow; /* ARP and neighbour solicitation: only the local address, the one that is asked for */
} __attribute__((aligned(8))); /* so that two words are one store */

struct cursor {
	struct xdp_md *ctx;
	void *at;
	void *end;    /* of the bytes that may be read */
	__u32 offset; /* of `at` in the packet */
};

/*
 * Whether the packet has that many bytes more to read; then they are `*taken`, and the cursor is behind them.
 *
 * It returns no NULL, and no length below is a variable: without CAP_PERFMON the verifier lets nobody compare a
 * packet's address with a number, or add to it what is not a constant.
 */
static __always_inline int take_bytes(struct cursor *cursor, void **taken, __u32 length)
{
	if (cursor->at + length > cursor->end)
		return 0;
	*taken = cursor->at;
	cursor->at += length;
	cursor->offset += length;
	return 1;
}

/* The same for a pointer to the next header. */
#define take(cursor, header) take_bytes(cursor, (void **)&(header), sizeof(*(header)))

/*
 * Takes the options behind an IPv4 header's fixed part, a word at a time: written out, so that the number of words is
 * bounded for every verifier.
 */
static __always_inline int take_options(struct cursor *cursor, __u32 header_words)
{
	__be32 *option;

#pragma unroll
	for (__u32 words = sizeof(struct iphdr) / sizeof(*option); words < IPV4_LONGEST_HEADER; words++)
		if (words < header_words && !take(cursor, option))
			return 0;
	return 1;
}

/*
 * Whether the packet has `length` bytes more. Those that lie in further buffers count, though none is read here; most
 * packets have but one, and then the kernel need not be asked. The subtraction is written out, or the compiler may do
 * it before it is known to be allowed.
 */
static __always_inline int has(const struct cursor *cursor, __u32 length)
{
	if (settings.may_subtract) {
		__u64 bytes = (__u64)cursor->end;

		asm volatile("%0 -= %1" : "+r"(bytes) : "r"(cursor->at));
		if (length <= bytes)
			return 1;
	}
	return cursor->offset + length <= bpf_xdp_get_buff_len(cursor->ctx);
}

static __always_inline struct address mapped_ipv4(__be32 ipv4)
{
	return (struct address){ { 0, 0, bpf_htonl(0xffff), ipv4 } };
}

static __always_inline struct address wire_ipv6(const struct in6_addr *ipv6)
{
	struct address address;

	__builtin_memcpy(&address, ipv6, sizeof(address));
	return address;
}

/* A mapped address is never on the wire as IPv6; were it let through, it would look like an IPv4 listener's. */
static __always_inline int is_mapped_ipv4(const struct address *address)
{
	return address->word[0] == 0 && address->word[1] == 0 && address->word[2] == bpf_htonl(0xffff);
}

static __always_inline void set_ends(struct packet *packet, struct address local, struct address remote)
{
	packet->flow.local = (struct end){ .address = local, .protocol = IPPROTO_TCP };
	packet->flow.remote = (struct end){ .address = remote, .protocol = IPPROTO_TCP };
	packet->has_ports = 0;
}

static __always_inline void set_ports(struct packet *packet, __be16 local, __be16 remote)
{
	packet->flow.local.port = local;
	packet->flow.remote.port = remote;
	packet->has_ports = 1;
}

#include "icmp.h"

/* Returns 0 and fills `packet`, or the counter under which it passes; so do the functions below. */
static __always_inline int parse_arp(struct cursor *cursor, struct packet *packet)
{
	struct arp_ipv4 *arp;

	if (!take(cursor, arp))
		return PASSED_MALFORMED;
	if (arp->hardware != bpf_htons(ARP_HARDWARE_ETHERNET) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_length != ETH_ALEN || arp->protocol_length != sizeof(__be32))
		return PASSED_MALFORMED;
	packet->kind = KIND_ARP;
	packet->is_ipv4 = 1;
	packet->is_later_fragment = packet->has_ports = 0;
	packet->flow.local.address = mapped_ipv4(arp->target);
	return 0;
}

/* `room` is how many bytes the IP header promises for the TCP header and what follows it. */
static __always_inline int parse_tcp(struct cursor *cursor, struct packet *packet, __u32 room)
{
	struct tcphdr *tcp;

	packet->kind = KIND_TCP;
	if (packet->is_later_fragment)
		return 0;
	if (!take(cursor, tcp) || room < sizeof(*tcp))
		return PASSED_MALFORMED;
	set_ports(packet, tcp->dest, tcp->source);
	return 0;
}

static __always_inline int parse_ipv4(struct cursor *cursor, struct packet *packet)
{
	struct cursor whole = *cursor;
	__u32 header_length, total_length;
	struct iphdr *ip;

	if (!take(cursor, ip) || ip->version != 4 || ip->ihl < 5)
		return PASSED_MALFORMED;
	header_length = ip->ihl * 4;
	total_length = bpf_ntohs(ip->tot_len);
	if (total_length < header_length || !has(&whole, total_length) || !take_options(cursor, ip->ihl))
		return PASSED_MALFORMED;
	packet->is_ipv4 = 1;
	packet->is_later_fragment = (ip->frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET)) != 0;
	set_ends(packet, mapped_ipv4(ip->daddr), mapped_ipv4(ip->saddr));
	if (ip->protocol == IPPROTO_TCP)
		return parse_tcp(cursor, packet, total_length - header_length);
	if (ip->protocol == IPPROTO_ICMP)
		return parse_icmp(cursor, packet, total_length - header_length);
	return PASSED_OTHER_PROTOCOL;
}

static __always_inline int parse_ipv6(struct cursor *cursor, struct packet *packet)
{
	struct ipv6hdr *ip;
	__u32 payload_length;

	if (!take(cursor, ip) || ip->version != 6)
		return PASSED_MALFORMED;
	payload_length = bpf_ntohs(ip->payload_len);
	if (!has(cursor, payload_length))
		return PASSED_MALFORMED;
	packet->is_ipv4 = packet->is_later_fragment = 0;
	set_ends(packet, wire_ipv6(&ip->daddr), wire_ipv6(&ip->saddr));
	if (is_mapped_ipv4(&packet->flow.local.address))
		return PASSED_MALFORMED;
	if (ip->nexthdr == IPPROTO_TCP)
		return parse_tcp(cursor, packet, payload_length);
	if (ip->nexthdr == IPPROTO_ICMPV6)
		return parse_icmpv6(cursor, packet, payload_length);
	return PASSED_OTHER_PROTOCOL;
}

/*
 * Whether a packet with this tag is of the VLAN that the loader named; a tag of VLAN 0 gives only a priority (IEEE
 * 802.1Q). What a card or a virtual link strips before the program runs (`rxvlan` of ethtool; `txvlan` of a veth's
 * other end) is not seen here: such a packet looks as if it had no tag.
 */
static __always_inline int is_our_vlan(__be16 control)
{
	return settings.vlan == ANY_VLAN || (bpf_ntohs(control) & VLAN_ID_MASK) == settings.vlan;
}

static __always_inline int parse(struct xdp_md *ctx, struct packet *packet)
{
	struct cursor cursor = {
		.ctx = ctx,
		.at = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
	struct ethernet_header *ethernet;
	struct vlan_header *vlan;
	__be16 type, control = 0;

	if (!take(&cursor, ethernet))
		return PASSED_MALFORMED;
	type = ethernet->type;
	if (type == bpf_htons(ETH_P_8021Q)) {
		if (!take(&cursor, vlan))
			return PASSED_MALFORMED;
		type = vlan->type;
		control = vlan->control;
	}
	if (!is_our_vlan(control))
		return PASSED_OTHER_VLAN;
	if (type == bpf_htons(ETH_P_IP))
		return parse_ipv4(&cursor, packet);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(&cursor, packet);
	if (type == bpf_htons(ETH_P_ARP))
		return parse_arp(&cursor, packet);
	return PASSED_NOT_IP;
}

#endif
