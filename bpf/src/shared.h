/* What the program and its loader agree on. The Rust side is shared.rs; a test compares the two. */
#ifndef CORELANE_SHARED_H
#define CORELANE_SHARED_H

#include <linux/types.h>

/* Bounds of the maps. The loader reports an entry too many; the program never adds one. */
#define MAX_LISTENERS 65536
#define MAX_OWN_ADDRESSES 256
#define MAX_SOCKETS 1024

/* An address of either family in network order; IPv4 in its IPv4-mapped form (RFC 4291 2.5.5.2). */
struct address {
	__u32 word[4];
};

/* A local end that is ours: a listener, or the local port of an outgoing connection. */
struct listener_key {
	struct address address;
	__u16 port;	/* network order */
	__u8 protocol;	/* IPPROTO_TCP */
	__u8 reserved;	/* 0 */
};

/* Which sockets the slots of `xsks` belong to. */
struct config {
	__u32 base_queue;	 /* the interface's queue whose first socket has key 0 */
	__u32 sockets_per_queue; /* 1 or more */
};

/* What was done with a packet: each packet that the program sees is counted under exactly one of these. */
enum counter {
	REDIRECTED_LISTENER,
	REDIRECTED_OWN_ARP,
	REDIRECTED_OWN_ICMP,
	REDIRECTED_OWN_TCP,
	PASSED_NOT_IP,		/* neither IPv4, IPv6 nor ARP; also two VLAN tags */
	PASSED_OTHER_PROTOCOL,	/* IP, but neither TCP nor ICMP follows the base header */
	PASSED_UNREGISTERED,	/* nothing of ours: the usual packet of the kernel */
	PASSED_FRAGMENT,	/* a later IPv4 fragment: it has no ports to look up */
	PASSED_MALFORMED,	/* shorter than its headers say, or a header that contradicts itself */
	REDIRECT_FAILED,	/* ours, but no socket is registered for its queue: passed to the kernel */
	COUNTER_COUNT,
};

_Static_assert(sizeof(struct address) == 16, "struct address is 16 bytes in shared.rs");
_Static_assert(sizeof(struct listener_key) == 20, "struct listener_key is 20 bytes in shared.rs");
_Static_assert(sizeof(struct config) == 8, "struct config is 8 bytes in shared.rs");

#endif
