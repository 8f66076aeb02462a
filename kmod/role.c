// SPDX-License-Identifier: GPL-2.0-only
/*
 * Roles: how a slot of the participants' table is given and taken. Everything under queue->mutex. The order of stores is that
 * of the library on posix (posix_end_role(), reader_join()), as producers and consumers look at them without any lock.
 */
#include <linux/cred.h>
#include <linux/ktime.h>
#include <linux/pid_namespace.h>
#include <linux/proc_ns.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "kmod.h"
#include "trace.h"

static u32 consumer_of(struct mqshm_queue *q, u32 i)
{
	return i - q->info->max_producers;
}

static void set_reliable(struct mqshm_queue *q, u32 consumer, bool on)
{
	u64 *word = &q->info->reliable[consumer / 64], bit = 1ULL << consumer % 64;

	/* after the consumer's position, which a producer now reads */
	smp_store_release(word, on ? *word | bit : *word & ~bit);
}

static bool is_reliable(struct mqshm_queue *q, u32 consumer)
{
	return q->info->reliable[consumer / 64] >> consumer % 64 & 1;
}

/* ---- attach ---- */

static void fill_participant(struct mqshm_participant *p, const struct mqshm_ioc_attach *a)
{
	p->flags = a->flags;
	p->pid = task_tgid_vnr(current);
	p->why = 0;
	p->ended_by = 0;
	p->pid_start = 0; /* nobody needs to look at /proc to know whether it lives */
	p->pid_namespace = task_active_pid_ns(current)->ns.inum;
	p->attached_at_ns = ktime_get_real_ns();
	get_task_comm(p->comm, current->group_leader);
	memcpy(p->name, a->name, sizeof(p->name));
	p->lease_ms = a->lease_ms;
	p->uid = from_kuid_munged(&init_user_ns, current_euid());
}

/* A position that a user has written: can it be one? */
static bool position_is_good(struct mqshm_queue *q, u64 position)
{
	return position >= q->info->base_position && position <= MQSHM_POSITION_MAX &&
	       !(position & (q->info->node_align - 1));
}

/* The sequence of what comes at tail: of the record that belongs to it. */
static u64 next_sequence(struct mqshm_queue *q, u64 tail)
{
	for (int i = 0; i < 2; i++)
		if (READ_ONCE(q->producer->record[i].end) == tail)
			return READ_ONCE(q->producer->record[i].next);
	return 0;
}

/*
 * Give a consumer its cursor. It is stored and marked before head is looked at, so that a producer that raises head either
 * sees it or is seen. The state says JOINING meanwhile, and a take-over waits for us (MQSHM_IOC_SYNC): so it never passes over
 * a cursor that then is believed. We don't read nodes: the sequence is one that is not too high, its owner finds the right one.
 */
static int join(struct mqshm_queue *q, u32 i, const struct mqshm_ioc_attach *a, u64 *cursor)
{
	u32 consumer = consumer_of(q, i);
	struct mqshm_consumer_area *area = queue_area(q, consumer);
	bool lossy = a->flags & MQSHM_ROLE_LOSSY || q->info->flags & MQSHM_OVERWRITE;
	bool adopt = !lossy && q->info->hold;

	memset(q->consumers + (size_t)consumer * PAGE_SIZE, 0, PAGE_SIZE);
	for (int tries = 0; tries < 1000; tries++) {
		/* with the producer's raising of tail */
		u64 tail = smp_load_acquire(&q->producer->tail), position = tail, sequence = next_sequence(q, tail);

		if (a->start || adopt) {
			/* with the producer's raising of head */
			position = smp_load_acquire(&q->producer->head);
			sequence = min(sequence, READ_ONCE(q->producer->head_sequence));
		}
		if (!position_is_good(q, position))
			break;
		WRITE_ONCE(area->sequence, sequence);
		WRITE_ONCE(area->joined, sequence);
		/* the position last: with it go sequence and joined */
		smp_store_release(&area->position, position);
		if (!lossy) {
			/* MO-10 */
			smp_store_release(&q->info->epoch, q->info->epoch + 1);
			set_reliable(q, consumer, true);
		}
		smp_mb(); /* MO-3: cursor and bit are out before head is read */
		if (READ_ONCE(q->producer->head) > position)
			continue;
		*cursor = position;
		if (adopt)
			smp_store_release(&q->info->hold, 0); /* MO-9: our bit before the hold ends */
		return 0;
	}
	set_reliable(q, consumer, false);
	return -EBADMSG;
}

/* The slot of a name, or -ENOENT. */
static int find_name(struct mqshm_queue *q, const u8 *name)
{
	for (u32 i = q->info->max_producers; i < q->slots; i++)
		if (slot_has_owner(q->participants[i].state) &&
		    !memcmp(q->participants[i].name, name, sizeof(q->participants[i].name)))
			return i;
	return -ENOENT;
}

/* May the caller take on the cursor in slot i? */
static int may_resume(struct mqshm_queue *q, u32 i, const struct mqshm_ioc_attach *a, u64 *cursor)
{
	struct mqshm_participant *p = &q->participants[i];
	/* with the producer's raising of tail */
	u64 tail = smp_load_acquire(&q->producer->tail), position = READ_ONCE(queue_area(q, consumer_of(q, i))->position);

	if (MQSHM_SLOT_STATE(p->state) != MQSHM_SLOT_LEASED)
		return -EBUSY;
	if (p->uid != from_kuid_munged(&init_user_ns, current_euid()) || p->flags != a->flags)
		return -EPERM;
	if (!position_is_good(q, position) || position > tail ||
	    (is_reliable(q, consumer_of(q, i)) && READ_ONCE(q->producer->head) > position)) {
		role_end(q, i, MQSHM_SLOT_ENDED, 0, MQSHM_WHY_HOSTILE, false);
		return -EBADMSG;
	}
	*cursor = position;
	return 0;
}

/* One that never had an owner, or whose owner left by itself, rather than one that may still be asked why it ended. */
static int find_slot(struct mqshm_queue *q, bool consumer)
{
	u32 first = consumer ? q->info->max_producers : 0, end = consumer ? q->slots : q->info->max_producers;
	int found = -EBUSY;

	for (u32 i = first; i < end; i++) {
		u32 state = MQSHM_SLOT_STATE(q->participants[i].state);

		if (state == MQSHM_SLOT_FREE)
			return i;
		if (state == MQSHM_SLOT_ENDED && found < 0)
			found = i;
	}
	return found;
}

int role_attach(struct mqshm_handle *h, struct mqshm_ioc_attach *a)
{
	struct mqshm_queue *q = h->queue;
	bool consumer = a->role == MQSHM_IOC_CONSUMER;
	u32 *word, live = MQSHM_SLOT_LIVE, generation;
	int i = -ENOENT, rc = 0;

	lockdep_assert_held(&q->mutex);
	if (q->dead)
		return -ENODEV;
	if (h->role)
		return -EALREADY;
	a->position = 0;
	a->resumed = 0;
	if (a->name[0])
		i = find_name(q, a->name);
	if (i >= 0) {
		rc = may_resume(q, i, a, &a->position);
		a->resumed = 1;
		if (!is_reliable(q, consumer_of(q, i)) && !(a->flags & MQSHM_ROLE_LOSSY) &&
		    !(q->info->flags & MQSHM_OVERWRITE))
			live = MQSHM_SLOT_DEMOTED;
	} else {
		i = find_slot(q, consumer);
	}
	if (i < 0 || rc)
		return i < 0 ? i : rc;
	if (!h->dummy) /* else an attempt before has failed */
		h->dummy = alloc_page(MQSHM_GFP | __GFP_ZERO);
	if (!h->dummy)
		return -ENOMEM;
	word = &q->participants[i].state;
	generation = (MQSHM_SLOT_GENERATION(*word) + 1) & 0xffffff;
	if (!a->resumed) {
		/* before the cursor changes: a take-over waits for us */
		smp_store_release(word, generation << 8 | MQSHM_SLOT_JOINING);
		rc = consumer ? join(q, i, a, &a->position) : 0;
		if (rc) {
			/* all is as before */
			smp_store_release(word, generation << 8 | MQSHM_SLOT_FREE);
			queue_wake_all(q);
			return rc;
		}
	}
	fill_participant(&q->participants[i], a);
	WRITE_ONCE(q->info->used, 1);
	a->participant = i;
	a->state = generation << 8 | live;
	owner_watch(h);
	down_write(&q->maps);
	h->slot = i;
	h->state = a->state;
	/* after owner, slot and state: who sees a role may read them without a lock */
	smp_store_release(&h->role, a->role);
	up_write(&q->maps);
	q->owners[i] = h;
	/* the slot is live, and all that is in it is there */
	smp_store_release(word, a->state);
	if (consumer) {
		WRITE_ONCE(q->info->consumers_ever, q->info->consumers_ever + 1);
	} else {
		WRITE_ONCE(q->info->producers_ever, q->info->producers_ever + 1);
		/* after the slot is live: who finds an active producer can find it */
		smp_store_release(&q->info->producer_epoch,
				  ((q->info->producer_epoch & ~3ULL) + MQSHM_EPOCH_ONE) | MQSHM_EPOCH_ACTIVE);
	}
	trace_mqshm_attach(q, i, pid_nr(h->owner));
	queue_wake_all(q);
	return 0;
}

/* ---- the end of a role ---- */

/* How the stream has ended, when the last producer has. */
static void settle_producers(struct mqshm_queue *q, u32 how)
{
	u64 epoch = q->info->producer_epoch;

	if (MQSHM_EPOCH_STATE(epoch) != MQSHM_EPOCH_ACTIVE)
		return;
	for (u32 i = 0; i < q->info->max_producers; i++)
		if (MQSHM_SLOT_STATE(q->participants[i].state) == MQSHM_SLOT_LIVE)
			return;
	smp_store_release(&q->info->producer_epoch, (epoch & ~3ULL) | how); /* MO-12 */
}

/* The counters of a consumer that leaves are kept with the queue. They are its own words: bounded by what was pushed. */
static void retire(struct mqshm_queue *q, u32 consumer)
{
	struct mqshm_consumer_area *area = queue_area(q, consumer);
	u64 pushed = queue_pushed(q);
	u64 sequence = min(READ_ONCE(area->sequence), pushed), joined = min(READ_ONCE(area->joined), sequence);
	u64 overwritten = min(READ_ONCE(area->overwritten), sequence - joined);

	WRITE_ONCE(q->info->retired_popped, q->info->retired_popped + sequence - joined - overwritten);
	WRITE_ONCE(q->info->retired_overwritten, q->info->retired_overwritten + overwritten);
}

/* For those who look from outside. */
static void tell_end(struct mqshm_queue *q, u32 i, u32 why, pid_t pid)
{
	switch (why) {
	case 0:
		trace_mqshm_detach(q, i, pid);
		return;
	case MQSHM_WHY_DIED:
		trace_mqshm_death(q, i, pid);
		sysfs_note(q, "died", NULL, i, pid);
		return;
	case MQSHM_WHY_SLOW:
		sysfs_note(q, "evicted", "slow", i, pid);
		break;
	case MQSHM_WHY_BY_HAND:
		sysfs_note(q, "evicted", "by_hand", i, pid);
		break;
	case MQSHM_WHY_HOSTILE:
		sysfs_note(q, "evicted", "hostile", i, pid);
		break;
	}
	trace_mqshm_evict(q, i, pid, why);
}

static void begin_lease(struct mqshm_queue *q, struct mqshm_participant *p)
{
	p->lease_until_ns = ktime_get_ns() + p->lease_ms * (u64)NSEC_PER_MSEC;
	mod_delayed_work(mqshm_work, &q->leases, 0); /* it finds out when to come again */
}

void role_end(struct mqshm_queue *q, u32 i, u32 state, u32 how, u32 why, bool gone)
{
	struct mqshm_participant *p = &q->participants[i];
	struct mqshm_handle *h = q->owners[i];
	bool consumer = i >= q->info->max_producers;

	lockdep_assert_held(&q->mutex);
	if (why) {
		WRITE_ONCE(p->why, why);
		WRITE_ONCE(p->ended_by, gone || current->flags & PF_KTHREAD ? 0 : task_tgid_vnr(current));
	}
	if (state == MQSHM_SLOT_LEASED)
		begin_lease(q, p);
	/* The state first: one who reads on must find it changed before what it reads is overwritten (MO-7). */
	smp_store_release(&p->state, MQSHM_SLOT_GENERATION(p->state) << 8 | state);
	smp_mb(); /* MO-7, as above */
	if (!consumer) {
		settle_producers(q, how);
	} else if (state != MQSHM_SLOT_LEASED) {
		set_reliable(q, consumer_of(q, i), false);
		retire(q, consumer_of(q, i));
		if (why == MQSHM_WHY_SLOW || why == MQSHM_WHY_BY_HAND || why == MQSHM_WHY_HOSTILE)
			WRITE_ONCE(q->info->evicted, q->info->evicted + 1);
	}
	tell_end(q, i, why, h ? pid_nr(h->owner) : 0);
	if (h) {
		q->owners[i] = NULL;
		owner_unwatch(h);
		down_write(&q->maps);
		h->gone = gone;
		WRITE_ONCE(h->ended, true);
		handle_revoke(h);
		up_write(&q->maps);
	}
	queue_wake_all(q);
}

bool role_demote(struct mqshm_queue *q, u32 i, u32 why)
{
	struct mqshm_participant *p = &q->participants[i];

	if (i < q->info->max_producers || MQSHM_SLOT_STATE(p->state) != MQSHM_SLOT_LIVE ||
	    !is_reliable(q, consumer_of(q, i)))
		return false;
	WRITE_ONCE(p->why, why);
	WRITE_ONCE(p->ended_by, task_tgid_vnr(current));
	smp_store_release(&p->state, (p->state & ~0xff) | MQSHM_SLOT_DEMOTED); /* MO-7 */
	smp_mb();
	set_reliable(q, consumer_of(q, i), false);
	WRITE_ONCE(q->info->demoted, q->info->demoted + 1);
	queue_wake_all(q);
	return true;
}

static void end_of_dead(struct mqshm_handle *h)
{
	struct mqshm_queue *q = h->queue;
	bool lease = h->role == MQSHM_IOC_CONSUMER && q->participants[h->slot].lease_ms && !q->dead;

	role_end(q, h->slot, lease ? MQSHM_SLOT_LEASED : MQSHM_SLOT_ENDED, MQSHM_EPOCH_CRASHED, MQSHM_WHY_DIED, true);
	queue_end_if_unused(q);
}

void role_owner_gone(struct mqshm_handle *h)
{
	struct mqshm_queue *q = h->queue;

	mutex_lock(&q->mutex);
	if (h->role && !h->ended)
		end_of_dead(h);
	mutex_unlock(&q->mutex);
	queue_settle(q);
}

void role_bury(struct mqshm_queue *q)
{
	bool any = false;

	lockdep_assert_held(&q->mutex);
	for (u32 i = 0; i < q->slots; i++) {
		struct mqshm_handle *h = q->owners[i];

		if (!h || !owner_is_gone(h))
			continue;
		end_of_dead(h);
		any = true;
	}
	if (any)
		queue_settle_later(q);
}

void role_leases(struct work_struct *work)
{
	struct mqshm_queue *q = container_of(to_delayed_work(work), struct mqshm_queue, leases);
	u64 now = ktime_get_ns(), next = U64_MAX;

	mutex_lock(&q->mutex);
	for (u32 i = q->info->max_producers; i < q->slots; i++) {
		struct mqshm_participant *p = &q->participants[i];

		if (MQSHM_SLOT_STATE(p->state) != MQSHM_SLOT_LEASED)
			continue;
		if (p->lease_until_ns <= now)
			role_end(q, i, MQSHM_SLOT_ENDED, 0, MQSHM_WHY_LEASE, true);
		else
			next = min(next, p->lease_until_ns - now);
	}
	queue_end_if_unused(q);
	queue_settle_later(q); /* taking the queue away waits for us, so another work does it */
	if (next != U64_MAX && !q->dead)
		mod_delayed_work(mqshm_work, &q->leases, nsecs_to_jiffies(next) + 1);
	mutex_unlock(&q->mutex);
}

/* ---- others' roles ---- */

/* Does the module agree that a cursor is none? */
static bool is_hostile(struct mqshm_queue *q, u32 i)
{
	u64 position = READ_ONCE(queue_area(q, consumer_of(q, i))->position);

	smp_rmb(); /* a good cursor was behind tail when it was stored, and so it is behind any later one */
	return !position_is_good(q, position) || position > READ_ONCE(q->producer->tail);
}

static int may_end(struct mqshm_handle *h, const struct mqshm_ioc_end *e)
{
	struct mqshm_queue *q = h->queue;
	u32 policy = e->flags & MQSHM_IOC_DEMOTE ? MQSHM_SLOW_DEMOTE : MQSHM_SLOW_EVICT;

	if (e->why == MQSHM_WHY_BY_HAND)
		return queue_may_administrate(q) ? 0 : -EPERM;
	if (h->role != MQSHM_IOC_PRODUCER || h->ended || !handle_is_owner(h) || e->participant < q->info->max_producers)
		return -EPERM;
	if (e->why == MQSHM_WHY_SLOW)
		return q->info->slow_policy == policy ? 0 : -EPERM;
	if (e->why == MQSHM_WHY_HOSTILE)
		return is_hostile(q, e->participant) ? 0 : -EPERM;
	return -EINVAL;
}

int role_end_other(struct mqshm_handle *h, const struct mqshm_ioc_end *e)
{
	struct mqshm_queue *q = h->queue;
	u32 word;
	int rc;

	lockdep_assert_held(&q->mutex);
	if (q->dead)
		return -ENODEV;
	if (e->participant >= q->slots)
		return -ESRCH;
	word = q->participants[e->participant].state;
	if (!slot_has_owner(word) || (e->state && e->state != word))
		return -ESRCH;
	rc = may_end(h, e);
	if (rc)
		return rc;
	if (e->flags & MQSHM_IOC_DEMOTE)
		return role_demote(q, e->participant, e->why) ? 0 : -ESRCH;
	role_end(q, e->participant, MQSHM_SLOT_ENDED, MQSHM_EPOCH_CRASHED, e->why, false);
	return 0;
}
