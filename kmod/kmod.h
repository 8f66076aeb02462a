/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Types of the module, who holds what, and the order of its locks.
 *
 * A queue is a struct device and the pages of its ring. The device's references keep it: one of the driver core while the
 * node is there, one of each open file. Its region info (struct mqshm_info and the participants) is written here and nowhere
 * else, so what stands there can be believed; the other regions are written by users, and every value from them is
 * loaded once and bounded.
 *
 * A handle is an open file, with at most one role in its life. A role ends by DETACH, by the last close of its file, by the
 * death or exec of its owner, by eviction, or with the queue; whichever comes first, under queue->mutex. The file holds one
 * reference, a queued death another.
 *
 * Locks, outermost first:
 *	registry_mutex	names and minors, limits; over device_add() and device_del()
 *	queue->sysfs_mutex  directories of consumers in /sys, uevents. No reader in sysfs takes it
 *	queue->mutex	roles, leases, end of the queue. Never held while user memory is copied (that may fault), nor
 *			over device_del() (which waits for readers in sysfs, who take it)
 *	queue->maps	read: a fault that maps a page; write: taking away the mappings of a role
 *	wait queues' locks
 * mmap_lock comes before queue->maps and is never taken inside any of them but by way of registry_mutex's allocations.
 */
#ifndef MQSHM_KMOD_H
#define MQSHM_KMOD_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/rwsem.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "mqshm/abi.h"

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

/* As in mqshm.h. */
#define MQSHM_SHARED 0x0001
#define MQSHM_OVERWRITE 0x0002
#define MQSHM_HOLD 0x0004
#define MQSHM_PERSISTENT 0x0008
#define MQSHM_TIMESTAMP_OFF 0x0010
#define MQSHM_TIMESTAMP_OWN 0x0020
#define MQSHM_QUEUE_FLAGS 0x003f
#define MQSHM_SLOW_BLOCK 0
#define MQSHM_SLOW_EVICT 1
#define MQSHM_SLOW_DEMOTE 2
#define MQSHM_NODES_MAX BIT(30)
#define MQSHM_BLOCK_MAX BIT(30)
#define MQSHM_METADATA_MAX 256
#define MQSHM_MS_MAX 0x7fffffffu
#define MQSHM_LEASE_MS_MAX 86400000u

/* Charged to the caller's cgroup; at its limit we get NULL, and not somebody killed. */
#define MQSHM_GFP (GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

#define MQSHM_MINORS 8192 /* minor 0 is control */

struct mqshm_user;

struct mqshm_queue {
	struct device dev;
	int minor;
	char name[64];
	kuid_t uid;
	kgid_t gid;
	umode_t mode;
	bool owns_files; /* new files of its directory in /sys are its uid's */
	struct mqshm_user *user; /* whose share the memory is */

	struct page **pages; /* of the whole object */
	unsigned long page_count;
	struct mqshm_info *info; /* the object up to the nodes, mapped for us */
	struct mqshm_participant *participants;
	struct mqshm_producer_page *producer;
	void *consumers;
	u32 slots;

	struct mutex mutex; /* roles, slots, and what info says of them */
	struct mqshm_handle **owners; /* of each slot; NULL: nobody */
	bool dead;	/* info->dead; no new role */
	bool listed;	/* registry_mutex: name and minor are taken */
	struct work_struct settle;   /* queue_settle(), where we can't wait for it */
	struct delayed_work leases;

	struct mutex sysfs_mutex; /* what the queue has in /sys */
	struct kobject *consumers_kobject; /* sysfs_mutex; NULL: /sys has no place for us */
	struct mqshm_consumer_dir **dirs;  /* sysfs_mutex: of each consumer's slot, or NULL */
	struct list_head events;	   /* mutex: noted and not yet told */

	struct rw_semaphore maps;
	wait_queue_head_t words[MQSHM_WORDS];
};

struct mqshm_handle {
	struct kref ref;
	struct mqshm_queue *queue;
	struct file *file; /* NULL once released; queue->mutex */
	u32 seen_epoch;	   /* of the last pread() */

	/* The role: set once by attach, under queue->mutex and queue->maps. */
	u32 role;  /* MQSHM_IOC_PRODUCER, _CONSUMER, 0: none yet */
	u32 slot;  /* in the participants' table */
	u32 state; /* its word while the role is ours */
	bool ended;
	bool gone;	   /* by death or exec: not even a dummy for what was mapped */
	struct page *dummy;/* what a live process sees where it may not write any more */
	struct address_space mapping; /* what is mapped through this file, to take it away without touching others' */

	struct pid *owner;
	struct mm_struct *mm; /* of the owner when it attached; only compared */
	wait_queue_entry_t death;
	struct work_struct died;

	/* Commands of io_uring that wait; under the lock of the wait queue they wait in. */
	struct list_head pending;
	wait_queue_entry_t commands; /* in that queue while there are any */
	struct delayed_work orphans; /* only where io_uring does not cancel them */
};

static inline struct mqshm_queue *to_queue(struct device *dev)
{
	return container_of(dev, struct mqshm_queue, dev);
}

static inline bool slot_is_live(u32 word)
{
	return MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LIVE || MQSHM_SLOT_STATE(word) == MQSHM_SLOT_DEMOTED;
}

/* Somebody's, be it one who will come back. */
static inline bool slot_has_owner(u32 word)
{
	return slot_is_live(word) || MQSHM_SLOT_STATE(word) == MQSHM_SLOT_JOINING ||
	       MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LEASED;
}

/* The area of a consumer; see ring_area() of the library. */
static inline struct mqshm_consumer_area *queue_area(struct mqshm_queue *q, u32 consumer)
{
	return q->consumers + (size_t)consumer * PAGE_SIZE + consumer % 64 * 64;
}

/* main.c */
extern struct workqueue_struct *mqshm_work; /* our own: module exit flushes it */

/* queue.c: memory, limits, the registry of names */
int queue_create(const struct mqshm_ioc_create *wanted, struct mqshm_queue **created);
int queue_remove(const char *name, u32 flags);
struct mqshm_queue *queue_get(int minor); /* with a reference, or NULL */
/* q->mutex held: nobody may attach any more; then, without it, queue_unlist() takes name and node away. */
void queue_die(struct mqshm_queue *q);
void queue_unlist(struct mqshm_queue *q);
/*
 * No lock held: roles have come or gone. /sys shows it from now on; or, if the queue has died with them, name and node go. Who
 * changes roles calls it after having let go of q->mutex, or queue_settle_later() before.
 */
void queue_settle(struct mqshm_queue *q);
void queue_settle_later(struct mqshm_queue *q);
/* q->mutex held: has the last user of a queue that should go with it left? Then it dies, and this is true. */
bool queue_end_if_unused(struct mqshm_queue *q);
bool queue_may_administrate(const struct mqshm_queue *q); /* current: the owner, or CAP_SYS_ADMIN */

/* node.c: the class, /dev/mqshm, the devices */
int nodes_init(dev_t first);
void nodes_exit(void);
int node_add(struct mqshm_queue *q); /* sets up q->dev, which then is what keeps q */
struct mqshm_queue *node_find(const char *name); /* with a reference, or NULL */

/* sysfs.c */
struct mqshm_consumer_dir;
extern const struct attribute_group *mqshm_queue_groups[];
int sysfs_add(struct mqshm_queue *q); /* q's device is there */
void sysfs_remove(struct mqshm_queue *q); /* it will go */
void sysfs_publish(struct mqshm_queue *q); /* for queue_settle() */
/* q->mutex held: a uevent for the next sysfs_publish(). what, why (may be NULL): constants. */
void sysfs_note(struct mqshm_queue *q, const char *what, const char *why, u32 slot, pid_t pid);
/* How many messages producers say there were; not more than can have been. */
u64 queue_pushed(struct mqshm_queue *q);

/* file.c */
extern const struct file_operations mqshm_file_operations;
void handle_put(struct mqshm_handle *h);
bool handle_is_owner(const struct mqshm_handle *h); /* current attached it */

/* mmap.c */
int handle_mmap(struct file *file, struct vm_area_struct *vma);
/* h's role has just ended (h->ended; queue->maps held for writing): what it could write is not its any more. */
void handle_revoke(struct mqshm_handle *h);

/* role.c: q->mutex held in all of them but role_owner_gone() and role_leases() */
int role_attach(struct mqshm_handle *h, struct mqshm_ioc_attach *a);
/*
 * End the role in slot i. state: what becomes of the slot; how: MQSHM_EPOCH_..., for producers; why: MQSHM_WHY_..., 0: its owner
 * leaves. gone: the owner is dead.
 */
void role_end(struct mqshm_queue *q, u32 i, u32 state, u32 how, u32 why, bool gone);
bool role_demote(struct mqshm_queue *q, u32 i, u32 why);
/* The owner of h has died, executed, or closed: its lease begins, or its role ends. */
void role_owner_gone(struct mqshm_handle *h);
/*
 * End the roles of all owners that are dead, though the works that would do it have not come yet: for who looks, and may know
 * of a death already because it has waited for that process.
 */
void role_bury(struct mqshm_queue *q);
void role_leases(struct work_struct *work);
int role_end_other(struct mqshm_handle *h, const struct mqshm_ioc_end *e);

/* owner.c */
void owner_watch(struct mqshm_handle *h);  /* current attaches */
void owner_unwatch(struct mqshm_handle *h);/* its role has ended */
bool owner_is_gone(const struct mqshm_handle *h); /* dead, or executing another program */
void owner_flushes(struct mqshm_handle *h);    /* current closes a descriptor of h */
void owner_check_exec(struct mqshm_handle *h); /* a mapping of h was closed: perhaps because its owner executes */

/* wait.c */
u32 *queue_word(struct mqshm_queue *q, u32 word);
u32 word_arm(struct mqshm_queue *q, u32 word);
void word_wake(struct mqshm_queue *q, u32 word);
void queue_wake_all(struct mqshm_queue *q); /* something about the participants has changed */
int handle_wait(struct mqshm_handle *h, struct mqshm_ioc_wait *w);
/* tail, and the sequence of what comes there. False: tail is none. */
bool queue_read_tail(struct mqshm_queue *q, u64 *tail, u64 *next);
/* Is there room for count messages of block_size? A hint: users' words may be anything. Else consumers are told that we wait. */
bool queue_wants_room(struct mqshm_queue *q, u32 count);
__poll_t handle_poll(struct file *file, poll_table *table);

/* uring.c */
void uring_init(struct mqshm_handle *h);
void uring_exit(struct mqshm_handle *h);
int handle_uring_cmd(struct io_uring_cmd *cmd, unsigned int flags);

#endif
