/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * The layout of a queue in memory: the only definition, for every backend and for 32- and 64-bit processes.
 *
 * One object, in regions: info | producer | consumers | nodes. Who may write a region is what separates them. In
 * posix every process that may open the object can write all of it; the kernel backend maps to each role only what
 * it owns. Every reader takes every value as hostile: load once, bound, use only the local.
 *
 * "writer" below is who stores to a field while the queue is alive; "attach", "detach", "reap" stand for the library
 * (posix) or the module (kernel) acting at these events.
 *
 * Protocol changelog
 *   1  first version
 *   2  slow-consumer policies, eviction with its reason, named consumers with a lease
 *   2  (no change of the layout) ioctls of the kernel module
 */
#ifndef MQSHM_ABI_H
#define MQSHM_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MQSHM_MAGIC 0x4D5153484D454D00ULL /* "MQSHMEM\0", most significant byte first */
#define MQSHM_ABI_VERSION 2

#define MQSHM_LINE 128		       /* between two writers: adjacent-line prefetch pulls pairs of 64-byte lines */
#define MQSHM_CONSUMER_SLOTS_MAX 256   /* the bitmap below has one bit each */
#define MQSHM_PRODUCER_SLOTS_SHARED 64 /* of a shared queue; an exclusive one has 1 */
#define MQSHM_POSITION_MAX (1ULL << 63) /* positions end here: differences never wrap, garbage is easily told */
#define MQSHM_MARKS 32		       /* two in each 1/16 of ring bytes and of nodes: any window has them all */

/* ---- participants: who holds a role (region info) ---- */

/* Low byte of mqshm_participant.state; the rest is the generation, +1 at each attach. */
#define MQSHM_SLOT_FREE 0    /* never used, or its owner has left by itself */
#define MQSHM_SLOT_JOINING 1 /* attaching: its cursor holds the producer back; a take-over makes it PASSED */
#define MQSHM_SLOT_LIVE 2
#define MQSHM_SLOT_ENDED 3   /* its owner died, or was evicted and may not know yet; free once that one lives no more */
#define MQSHM_SLOT_DEMOTED 4 /* LIVE, but was too slow: reads on as a lossy consumer */
#define MQSHM_SLOT_LEASED 5  /* of a named consumer that left or died: its cursor waits for a successor */
#define MQSHM_SLOT_PASSED 6  /* JOINING, but a take-over has passed over its cursor: it says JOINING again and retries */

#define MQSHM_SLOT_STATE(word) ((word) & 0xff)
#define MQSHM_SLOT_GENERATION(word) ((word) >> 8)

#define MQSHM_ROLE_LOSSY 1

/* mqshm_participant.why: how a role was ended or demoted by somebody else */
#define MQSHM_WHY_DIED 1
#define MQSHM_WHY_SLOW 2     /* the queue's slow-consumer policy */
#define MQSHM_WHY_BY_HAND 3  /* mqshm_queue_evict() */
#define MQSHM_WHY_HOSTILE 4  /* its cursor was none */
#define MQSHM_WHY_REMOVED 5  /* the queue was removed or its object unlinked */
#define MQSHM_WHY_LEASE 6    /* nobody came for its lease in time */

struct mqshm_participant {
	__u32 state;		    /* writer: attach, detach, reap, take-over, by compare-and-swap; read with acquire */
	__u32 flags;		    /* MQSHM_ROLE_... ; this and the following: attach */
	__u32 pid;		    /* as its own pid namespace shows it */
	__u32 why;		    /* MQSHM_WHY_...; writer: who ends the role, before the state */
	__aligned_u64 pid_start;    /* field 22 of /proc/pid/stat */
	__aligned_u64 pid_namespace;/* inode of /proc/pid/ns/pid | of /proc/pid/ns/time << 32, 0: unknown */
	__aligned_u64 attached_at_ns;
	__u8 comm[16];
	__u8 name[32];		    /* of a named consumer, else "" */
	__u32 lease_ms;		    /* how long a named consumer's cursor is kept without it */
	__u32 uid;		    /* effective, of its owner */
	__aligned_u64 lease_until_ns;/* CLOCK_MONOTONIC; while LEASED. Writer: who makes it so, before the state */
	__u32 ended_by;		    /* pid of who ended or demoted it, 0: nobody did */
	__u8 reserved1[20];
};

/* ---- region info ---- */

/* mqshm_info.producer_epoch: low 2 bits the state, the rest +1 at each attach of a producer and each forced end */
#define MQSHM_EPOCH_NONE 0
#define MQSHM_EPOCH_ACTIVE 1
#define MQSHM_EPOCH_CLOSED 2
#define MQSHM_EPOCH_CRASHED 3
#define MQSHM_EPOCH_STATE(word) ((word) & 3)
#define MQSHM_EPOCH_ONE 4

struct mqshm_armed {
	__u32 word; /* odd: somebody sleeps on it. A sleeper makes it odd, who wakes makes it even again with one CAS
		       of the value it saw, so that no sleeper can be armed again before it was woken */
	__u8 pad[MQSHM_LINE - 4];
};

struct mqshm_info {
	/* Written once by the creator, before anybody else can see the object. */
	__aligned_u64 magic;
	__u32 abi_version;
	__u32 info_bytes; /* sizeof(struct mqshm_info) */
	__aligned_u64 total_bytes;
	__aligned_u64 ring_bytes; /* >= (node_count + 1) * largest node; a multiple of node_align */
	__u32 node_count;
	__u32 block_size;
	__u32 max_producers;
	__u32 max_consumers;
	__u32 node_align;	/* 8, 16, 32, 64: nodes start there */
	__u32 node_header_bytes;/* sizeof(struct mqshm_node) rounded up to node_align */
	__u32 flags;		/* MQSHM_SHARED ... of mqshm.h, low 16 bits */
	__u32 page_bytes;	/* regions start at multiples of it */
	__aligned_u64 participants_offset; /* producers' slots, then consumers' */
	__aligned_u64 producer_offset;
	__aligned_u64 consumers_offset;
	__aligned_u64 nodes_offset;
	__u32 consumer_stride;
	__u32 metadata_bytes;
	__aligned_u64 base_position; /* where the stream starts: 0, but in tests of the end of positions */
	__aligned_u64 created_at_ns;
	__u32 slow_policy;	     /* MQSHM_SLOW_... of mqshm.h */
	__u32 slow_ms;		     /* how long a consumer may hold a push back without moving */
	__u8 reserved0[128];
	__u8 name[64];
	__u8 metadata[256];
	__u8 reserved1[64];

	/* Life cycle. Writer: attach, detach, reap, remove. */
	__u32 dead;	     /* 1: the name is gone or going; everybody opens anew */
	__u32 lifecycle_pid; /* who holds the life-cycle lock, for messages */
	__u32 used;	     /* 1: has or had a participant, or was created by one: without a live one it is a zombie */
	__u32 reserved5;
	__aligned_u64 consumers_ever;
	__aligned_u64 producers_ever;
	__aligned_u64 retired_popped;	   /* counters of consumers that left */
	__aligned_u64 retired_overwritten;
	__aligned_u64 evicted;		   /* consumers: too slow, by hand, hostile */
	__aligned_u64 demoted;
	__u8 reserved2[64];

	/* Read by every push, hardly ever written. */
	__aligned_u64 producer_epoch; /* see above. Read with acquire before tail, to tell the end of the stream */
	__u32 epoch;	/* +1 at each attach, detach, death, eviction */
	__u32 hold;	/* 1: the stream's first message is still kept for a first reliable consumer */
	__aligned_u64 reliable[MQSHM_CONSUMER_SLOTS_MAX / 64]; /* bitmap: whose cursor holds the producer back */
	__u8 reserved3[80];

	struct mqshm_armed data;  /* consumers sleep here; who publishes wakes */
	struct mqshm_armed room;  /* producers sleep here for room, or until all is read; who reads wakes */
	struct mqshm_armed event; /* everybody else: attach, detach */
	__u8 reserved4[768];
};

/* ---- region producer: written by producers, under the lock when the queue is shared ---- */

struct mqshm_record {
	__aligned_u64 end;  /* tail after this publication */
	__aligned_u64 next; /* sequence of the first message after it */
};

struct mqshm_mark {
	__aligned_u64 position; /* a node boundary ... */
	__aligned_u64 sequence; /* ... and the sequence of the node that begins there */
};

struct mqshm_producer_page {
	/* Read by all. The record whose end is tail says the sequence; the other one is being written. */
	__aligned_u64 tail; /* release */
	struct mqshm_record record[2];
	__u8 pad0[MQSHM_LINE - 40];

	/* Read by joining and by lossy consumers. */
	__aligned_u64 head; /* oldest position that is still there */
	__u8 pad1[MQSHM_LINE - 8];

	/* Producers' own notes: node boundaries where head may go, in a ring of marks. */
	__aligned_u64 head_sequence;
	__aligned_u64 mark_count; /* the next one goes to mark[mark_count % MQSHM_MARKS] */
	__u8 pad2[MQSHM_LINE - 16];
	struct mqshm_mark mark[MQSHM_MARKS];

	/* Lock of a shared queue's producers: 0 free, else slot + 1 | generation << 8, | waiters bit. */
	__u32 lock;
	__u8 pad3[MQSHM_LINE - 4];

	/* What a producer waits for. Read by consumers when room.word is odd. */
	__aligned_u64 need;  /* the consumer blocked_on wakes it when its cursor is here */
	__u32 blocked_on;    /* slot + 1, 0: nobody */
	__u32 reserved0;
	__aligned_u64 stalls;/* how often a push found no room */
	__aligned_u64 blocked_since_ns; /* CLOCK_REALTIME: since when blocked_on has not moved its cursor */
	__u8 pad4[MQSHM_LINE - 32];
};

#define MQSHM_LOCK_WAITERS 0x80000000u

/* ---- region consumers: one area each, written by that consumer only ---- */

struct mqshm_consumer_area {
	__aligned_u64 position; /* cursor: all before is read. Release, after sequence */
	__aligned_u64 sequence; /* of the node at position */
	__aligned_u64 joined;	/* sequence at attach */
	__aligned_u64 missed;	/* all messages it could not get ... */
	__aligned_u64 overwritten; /* ... those among them that it was attached for */
	__aligned_u64 last_access_ns;
	__aligned_u64 reserved[2];
};

/* ---- region nodes ---- */

/*
 * A message: this header, then the payload at node_header_bytes, padded to node_align. A node never wraps. What is
 * left before the end of the ring is a padding, known by its first word, or, when shorter than a header, is skipped.
 */
struct mqshm_node {
	__aligned_u64 word; /* size of the payload in bytes | MQSHM_NODE_... << 32 */
	__aligned_u64 sequence;
	__aligned_u64 timestamp_ns;
};

#define MQSHM_NODE_MESSAGE 1
#define MQSHM_NODE_PADDING 2

/* ---- posix: bytes of the object that owners lock (F_OFD_SETLK), far beyond its end ---- */

#define MQSHM_LOCK_LIFECYCLE 0x4000000000000000LL
/* i: index in the participants' table */
#define MQSHM_LOCK_REPAIR(i) (MQSHM_LOCK_LIFECYCLE + 1 + (i)) /* who ends the role of a dead owner, or takes its slot */
#define MQSHM_LOCK_OWNER(i, generation) (MQSHM_LOCK_LIFECYCLE + 512 * ((generation) + 1LL) + (i)) /* the owner itself */

/* ---- kernel: ioctls of /dev/mqshm/control (C) and of a queue's node /dev/mqshm/<name> (Q) ---- */

/*
 * The module keeps a queue's memory and writes the region info alone; who attaches maps info read-only, and of the rest
 * what its role may write. mmap() takes exactly one region, at its offset in the object: a consumer's own area is
 * one (consumer_stride bytes), all areas together another (producers, read-only). A descriptor has at most one role in
 * its life, which belongs to the process that attached and ends when that dies, executes another program or closes the
 * descriptor; only that process may map and use it. pread() of a descriptor without a role gives the object without the nodes.
 *
 * Each struct begins with its size; 0 in what is reserved, and unknown flags are refused (-EINVAL).
 */
#define MQSHM_IOC_MAGIC 0xB7

/* words to sleep on */
#define MQSHM_WORD_DATA 0  /* info->data */
#define MQSHM_WORD_ROOM 1  /* info->room */
#define MQSHM_WORD_EVENT 2 /* info->event */
#define MQSHM_WORD_LOCK 3  /* producer->lock: compared and slept on, never armed */
#define MQSHM_WORDS 4

/* C: -EEXIST, -ENOMEM (also a cgroup's limit), -ENOSPC (too many queues), -EDQUOT (the user's share), -EFBIG. The node
 * belongs to the caller's effective uid and gid. */
struct mqshm_ioc_create {
	__u32 size;
	__u32 flags; /* MQSHM_IOC_TO_ATTACH */
	__u8 name[64];
	__u32 node_count; /* the following as in struct mqshm_info; no defaults */
	__u32 block_size;
	__u32 max_producers;
	__u32 max_consumers;
	__u32 node_align;
	__u32 queue_flags;
	__u32 slow_policy;
	__u32 slow_ms;
	__u32 mode; /* permission bits of the node */
	__u32 metadata_bytes;
	__aligned_u64 base_position;
	__u8 metadata[256];
};
/* Counts as used from now on: goes when this descriptor of control is closed, if nobody has attached by then. */
#define MQSHM_IOC_TO_ATTACH 1

/* C: -ENOENT, -EPERM (neither owner nor CAP_SYS_ADMIN), -EBUSY (in use, without MQSHM_IOC_FORCE) */
struct mqshm_ioc_remove {
	__u32 size;
	__u32 flags; /* MQSHM_IOC_FORCE: end all roles first */
	__u8 name[64];
};
#define MQSHM_IOC_FORCE 1

#define MQSHM_IOC_PRODUCER 1
#define MQSHM_IOC_CONSUMER 2

/*
 * Q, open for reading and writing. -ENODEV: the queue is gone; -EBUSY: no slot is free, or the name is in use; -EPERM: the name's
 * cursor belongs to another user or is of the other kind; -EBADMSG: the ring's positions make no sense; -EFAULT after all else went
 * well (the argument can't be written): the role has ended at once, and the open file can't have another.
 * The caller then has the role: a producer takes over the ring (if exclusive; else at its first lock), a consumer finds the
 * sequence of its position. What poll() waits for depends on the role: into an epoll set the file is put after this.
 */
struct mqshm_ioc_attach {
	__u32 size;
	__u32 role;	/* MQSHM_IOC_PRODUCER, _CONSUMER */
	__u32 flags;	/* MQSHM_ROLE_LOSSY */
	__u32 start;	/* consumers: 0 latest, 1 oldest, 2 beginning */
	__u32 lease_ms; /* with a name, else 0 */
	__u8 name[32];
	/* out */
	__u32 participant; /* index in the participants' table */
	__u32 state;	   /* its state word while the role is ours */
	__u32 resumed;	   /* 1: the cursor of a former consumer of this name */
	__aligned_u64 position; /* consumers: the cursor */
};

/* Q, the owner: end our own role in order. Closing without it counts as a crash. */
struct mqshm_ioc_detach {
	__u32 size;
	__u32 how; /* producers: MQSHM_EPOCH_CLOSED or _CRASHED. Consumers: MQSHM_EPOCH_NONE also gives up a lease */
};

/* Q, with a role. ARM: make an even word odd; value: out. WAKE: make an odd word even, and wake all who sleep on it. */
struct mqshm_ioc_word {
	__u32 size;
	__u32 word; /* MQSHM_WORD_... */
	__u32 value;
	__u32 reserved;
};

/* Q, with a role: sleep while the word is value, the role is ours and (MQSHM_WORD_LOCK) the holder that it names lives, at most
 * ns (all ones: no limit). 0 whatever woke us, -EINTR a signal's handler; after stop and continue it sleeps on, for the ns that it
 * has noted as left. Relative, as a process in a time namespace has another clock. An even word is not slept on (but
 * MQSHM_WORD_LOCK): nobody would wake us, ARM it before.
 * MQSHM_IOC_FOR_DATA (with MQSHM_WORD_DATA): ARM and this in one call. The word may be even and is made odd on the way; who finds
 * tail at until or beyond, or another info->epoch than epoch, does not sleep. The caller reads value and epoch, fences, looks for
 * messages and at its state, and calls. */
struct mqshm_ioc_wait {
	__u32 size;
	__u32 word;
	__u32 value;
	__u32 flags; /* MQSHM_IOC_FOR_DATA */
	__aligned_u64 ns;
	__aligned_u64 until; /* these two: 0 without the flag */
	__u32 epoch;
	__u32 reserved;
};
#define MQSHM_IOC_FOR_DATA 1

/*
 * Q: end the role of another, or make a consumer lossy. By the queue's owner or CAP_SYS_ADMIN (why MQSHM_WHY_BY_HAND), or by a
 * producer: MQSHM_WHY_SLOW where the queue has that policy, MQSHM_WHY_HOSTILE where the module, too, finds the cursor out of
 * bounds. -ESRCH: it is not there (any more), -EPERM.
 */
struct mqshm_ioc_end {
	__u32 size;
	__u32 participant;
	__u32 state; /* the state word of the one that is meant, 0: whoever it is */
	__u32 why;
	__u32 flags; /* MQSHM_IOC_DEMOTE */
	__u32 reserved;
};
#define MQSHM_IOC_DEMOTE 1

#define MQSHM_IOC_CREATE _IOW(MQSHM_IOC_MAGIC, 0, struct mqshm_ioc_create)
#define MQSHM_IOC_REMOVE _IOW(MQSHM_IOC_MAGIC, 1, struct mqshm_ioc_remove)
#define MQSHM_IOC_ATTACH _IOWR(MQSHM_IOC_MAGIC, 2, struct mqshm_ioc_attach)
#define MQSHM_IOC_DETACH _IOW(MQSHM_IOC_MAGIC, 3, struct mqshm_ioc_detach)
#define MQSHM_IOC_ARM _IOWR(MQSHM_IOC_MAGIC, 4, struct mqshm_ioc_word)
#define MQSHM_IOC_WAKE _IOW(MQSHM_IOC_MAGIC, 5, struct mqshm_ioc_word)
#define MQSHM_IOC_WAIT _IOWR(MQSHM_IOC_MAGIC, 6, struct mqshm_ioc_wait)
#define MQSHM_IOC_END _IOW(MQSHM_IOC_MAGIC, 7, struct mqshm_ioc_end)
/* Q, with a role: when it returns, nobody whose slot said JOINING at the call still joins, and no slot is a dead one's whom the
 * caller has waited for. */
#define MQSHM_IOC_SYNC _IO(MQSHM_IOC_MAGIC, 8)

/* io_uring: IORING_OP_URING_CMD with this cmd_op completes with 0 when at least count messages are there for a consumer (or
 * its stream has ended), or room for count messages of block_size for a producer; -ECONNABORTED: the role has ended. */
#define MQSHM_URING_WAIT _IOW(MQSHM_IOC_MAGIC, 9, struct mqshm_uring_wait)
struct mqshm_uring_wait { /* in the 16 bytes of the SQE for commands */
	__u32 count; /* 1..node_count */
	__u32 reserved[3];
};

/* ---- geometry ---- */

/* A node of the largest message, in bytes. */
static inline __u64 mqshm_node_bytes(const struct mqshm_info *info)
{
	return ((__u64)info->node_header_bytes + info->block_size + info->node_align - 1) & ~((__u64)info->node_align - 1);
}

static inline __u64 mqshm_page_up(const struct mqshm_info *info, __u64 bytes)
{
	return (bytes + info->page_bytes - 1) & ~((__u64)info->page_bytes - 1);
}

/*
 * Where everything is, from node_count, block_size, max_producers, max_consumers, node_align, page_bytes and consumer_stride
 * (in range, the last two and node_align powers of two or multiples as said above): each region begins on the first page behind the
 * one before. The ring has room for one node more than node_count: what may be lost before its end is less than one.
 */
static inline void mqshm_lay_out(struct mqshm_info *info)
{
	__u64 slots = (__u64)info->max_producers + info->max_consumers;

	info->node_header_bytes = (__u32)((sizeof(struct mqshm_node) + info->node_align - 1) & ~(info->node_align - 1));
	info->ring_bytes = mqshm_page_up(info, ((__u64)info->node_count + 1) * mqshm_node_bytes(info));
	info->participants_offset = sizeof *info;
	info->producer_offset = mqshm_page_up(info, sizeof *info + slots * sizeof(struct mqshm_participant));
	info->consumers_offset = info->producer_offset + mqshm_page_up(info, sizeof(struct mqshm_producer_page));
	info->nodes_offset = info->consumers_offset +
			     mqshm_page_up(info, (__u64)info->max_consumers * info->consumer_stride);
	info->total_bytes = info->nodes_offset + info->ring_bytes;
}

/* ---- held against tests/abi/layout.txt for 32 and 64 bit ---- */

#ifdef __cplusplus
#define MQSHM_ASSERT(cond) static_assert(cond, #cond)
#else
#define MQSHM_ASSERT(cond) _Static_assert(cond, #cond)
#endif
MQSHM_ASSERT(sizeof(struct mqshm_participant) == 128);
MQSHM_ASSERT(sizeof(struct mqshm_info) == 2048);
MQSHM_ASSERT(__builtin_offsetof(struct mqshm_info, name) == 256);
MQSHM_ASSERT(__builtin_offsetof(struct mqshm_info, dead) == 640);
MQSHM_ASSERT(__builtin_offsetof(struct mqshm_info, producer_epoch) == 768);
MQSHM_ASSERT(__builtin_offsetof(struct mqshm_info, data) == 896);
MQSHM_ASSERT(__builtin_offsetof(struct mqshm_info, event) == 1152);
MQSHM_ASSERT(__builtin_offsetof(struct mqshm_producer_page, head) == 128);
MQSHM_ASSERT(__builtin_offsetof(struct mqshm_producer_page, mark) == 384);
MQSHM_ASSERT(__builtin_offsetof(struct mqshm_producer_page, lock) == 896);
MQSHM_ASSERT(__builtin_offsetof(struct mqshm_producer_page, need) == 1024);
MQSHM_ASSERT(sizeof(struct mqshm_producer_page) == 1152);
MQSHM_ASSERT(sizeof(struct mqshm_consumer_area) == 64);
MQSHM_ASSERT(sizeof(struct mqshm_node) == 24);
MQSHM_ASSERT(sizeof(struct mqshm_ioc_create) == 376);
MQSHM_ASSERT(sizeof(struct mqshm_ioc_remove) == 72);
MQSHM_ASSERT(sizeof(struct mqshm_ioc_attach) == 72);
MQSHM_ASSERT(sizeof(struct mqshm_ioc_detach) == 8);
MQSHM_ASSERT(sizeof(struct mqshm_ioc_word) == 16);
MQSHM_ASSERT(sizeof(struct mqshm_ioc_wait) == 40);
MQSHM_ASSERT(sizeof(struct mqshm_ioc_end) == 24);
MQSHM_ASSERT(sizeof(struct mqshm_uring_wait) == 16);

#endif
