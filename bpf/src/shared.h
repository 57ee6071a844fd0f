/* What the program and its loader agree on. The Rust side is shared.rs; a test compares the two. */
#ifndef CORELANE_SHARED_H
#define CORELANE_SHARED_H

#include <linux/types.h>

/*
 * Bounds of the maps. The loader makes `xsks`, `table`, `flows` and `pinned` as large as it is told, up to these, and
 * reports an entry too many; the program never adds one.
 */
#define MAX_LISTENERS 65536
#define MAX_OWN_ADDRESSES 256
#define MAX_SOCKETS 4096
#define MAX_BUCKETS 4096
#define MAX_FLOWS 4194304

/* The longest packet that is kept for a process instead of going to a socket. */
#define MAX_KEPT 4088

/* `vlan` of struct settings: whatever tag a packet has. */
#define ANY_VLAN 65535

/* An address of either family in network order; IPv4 in its IPv4-mapped form (RFC 4291 2.5.5.2). */
struct address {
	__u32 word[4];
};

/* One end of a flow. The local one alone is also the key of a listener. */
struct end {
	struct address address;
	__u16 port;	/* network order */
	__u8 protocol;	/* IPPROTO_TCP */
	__u8 reserved;	/* 0 */
};

/* A connection as seen from here, whichever way the packet goes that names it. */
struct flow {
	struct end local;
	struct end remote;
};

/* Fixed when the program is loaded: the verifier knows the values, and leaves out what they make needless. */
struct settings {
	__u64 hash_key[2];	 /* SipHash's k0 and k1 */
	__u32 base_queue;	 /* the interface's queue whose first socket has key 0 */
	__u32 queues;		 /* how many of them, from the base, have sockets */
	__u32 sockets_per_queue; /* how many cores have one on each queue, or 1 */
	__u32 bucket_mask;	 /* one less than the length of `table` */
	__u32 vlan;		 /* the packets that are looked at: 0 for those without a tag, or ANY_VLAN */
	__u32 reserved;		 /* 0 */
};

/* How many entries these maps have: an empty one is not asked. */
struct in_use {
	__u32 flows;
	__u32 pinned;
	__u32 own_addresses;
	__u32 relayed; /* 1 while a predecessor lives, whose flows `relayed` holds */
	__u32 holding; /* 1 while there are no sockets yet: what is theirs is held */
};

/* A packet in one of the rings, and which worker of the process that reads it has its flow. */
struct kept {
	__u32 length;
	__u32 worker;
	__u8 bytes[];
};

/* What was done with a packet: each packet that the program sees is counted under exactly one of these. */
enum counter {
	REDIRECTED_LISTENER,
	REDIRECTED_FLOW,
	REDIRECTED_PINNED,	/* TCP of ours by any of the other reasons, and its flow is pinned to a core */
	REDIRECTED_ICMP_ERROR,	/* it quotes a flow whose local end is a listener's, or which is registered */
	REDIRECTED_OWN_ARP,
	REDIRECTED_OWN_ICMP,
	REDIRECTED_OWN_TCP,
	PASSED_NOT_IP,		/* neither IPv4, IPv6 nor ARP; also two VLAN tags */
	PASSED_OTHER_VLAN,	/* not of the VLAN that the settings name */
	PASSED_OTHER_PROTOCOL,	/* IP, but neither TCP nor ICMP follows the base header */
	PASSED_UNREGISTERED,	/* nothing of ours: the usual packet of the kernel */
	PASSED_FRAGMENT,	/* a later IPv4 fragment: it has no ports to look up */
	PASSED_MALFORMED,	/* shorter than its headers say, or a header that contradicts itself */
	REDIRECT_FAILED,	/* ours, but no socket is registered for its queue and core: passed to the kernel */
	RELAYED,		/* of a flow that a predecessor still has: kept for it */
	HELD,			/* ours, and the sockets are still to come: kept for them */
	DROPPED_NO_ROOM,	/* to be relayed or held, and the ring is full */
	COUNTER_COUNT,
};

_Static_assert(sizeof(struct address) == 16, "struct address is 16 bytes in shared.rs");
_Static_assert(sizeof(struct end) == 20, "struct end is 20 bytes in shared.rs");
_Static_assert(sizeof(struct flow) == 40, "struct flow is 40 bytes in shared.rs");
_Static_assert(sizeof(struct settings) == 40, "struct settings is 40 bytes in shared.rs");
_Static_assert(sizeof(struct in_use) == 20, "struct in_use is 20 bytes in shared.rs");
_Static_assert(sizeof(struct kept) == 8, "struct kept begins with 8 bytes in ring.rs");

#endif
