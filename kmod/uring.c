// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_uring: a command that completes when at least count messages are there, or room for as many. One that has to wait lies in
 * its handle's list, and the handle hangs one function into the wait queue of the word that it would sleep on: so whatever
 * wakes a sleeper (also the end of the role) makes us look, and nobody else needs to know of commands. It is a sleeper like
 * the others: it makes the word odd, fences, looks. It completes in its task, as io_uring wants it.
 *
 * The lock of that wait queue guards list and commands. A listed command holds the file, and so the handle. Whoever takes it
 * out of the list completes it, once, and touches the handle no more if it was the last.
 */
#include "kmod.h"

/* More than one that waits is hardly of use, and each is looked at with interrupts off. */
#define PENDING_MAX 8

/* In the command itself, as io_uring may ask us to cancel one at any time until it is completed. */
struct pending {
	struct list_head list; /* of the handle; empty: on its way to completion */
	u32 count;
	s32 result;
	bool orphan;
};

static struct pending *to_pending(struct io_uring_cmd *cmd)
{
	BUILD_BUG_ON(sizeof(struct pending) > sizeof(cmd->pdu));
	return (struct pending *)cmd->pdu;
}

static struct io_uring_cmd *to_command(struct pending *p)
{
	return container_of((u8 (*)[sizeof_field(struct io_uring_cmd, pdu)])p, struct io_uring_cmd, pdu);
}

static u32 word_of(const struct mqshm_handle *h)
{
	return h->role == MQSHM_IOC_CONSUMER ? MQSHM_WORD_DATA : MQSHM_WORD_ROOM;
}

static spinlock_t *lock_of(const struct mqshm_handle *h)
{
	return &h->queue->words[word_of(h)].lock;
}

/* ---- looking ---- */

/* A sequence that is none deceives its owner alone, and a tail that is none its consumers, who will see what it is. */
static bool has_messages(struct mqshm_handle *h, u32 count)
{
	struct mqshm_queue *q = h->queue;
	struct mqshm_consumer_area *area = queue_area(q, h->slot - q->info->max_producers);
	/* the state first: what was pushed before the end is then seen in tail */
	u64 state = MQSHM_EPOCH_STATE(smp_load_acquire(&q->info->producer_epoch)), tail, next;

	if (state == MQSHM_EPOCH_CLOSED || state == MQSHM_EPOCH_CRASHED || !queue_read_tail(q, &tail, &next))
		return true;
	return next - READ_ONCE(area->sequence) >= count;
}

/* 1: not yet; else the result. */
static int look(struct mqshm_handle *h, u32 count)
{
	if (READ_ONCE(h->ended))
		return -ECONNABORTED;
	return !(h->role == MQSHM_IOC_CONSUMER ? has_messages(h, count) : queue_wants_room(h->queue, count));
}

/* ---- completion ---- */

static void complete_command(struct io_uring_cmd *cmd, unsigned int flags)
{
	uring_cmd_done(cmd, to_pending(cmd)->result, flags);
}

DEFINE_URING_TASK_WORK(complete_in_task, complete_command);

/* These are in no list of the handle any more. The last of all may take its file and the handle along. */
static void complete_these(struct list_head *ready)
{
	struct pending *p, *next;

	list_for_each_entry_safe(p, next, ready, list) {
		list_del_init(&p->list);
		io_uring_cmd_complete_in_task(to_command(p), complete_in_task);
	}
}

static void unhook_if_idle(struct mqshm_handle *h)
{
	if (list_empty(&h->pending))
		list_del_init(&h->commands.entry);
}

static void complete_ready(struct mqshm_handle *h)
{
	struct pending *p, *next;
	LIST_HEAD(ready);

	lockdep_assert_held(lock_of(h));
	word_arm(h->queue, word_of(h));
	smp_mb(); /* MO-2, MO-5: armed before we look */
	list_for_each_entry_safe(p, next, &h->pending, list) {
		p->result = look(h, p->count);
		if (p->result <= 0)
			list_move_tail(&p->list, &ready);
	}
	unhook_if_idle(h);
	complete_these(&ready);
}

/* Called by word_wake(), with the lock held; hung in as long as something is pending. */
static int on_wake(wait_queue_entry_t *entry, unsigned int mode, int sync, void *key)
{
	complete_ready(container_of(entry, struct mqshm_handle, commands));
	return 0;
}

/* ---- the end of a ring or a task ---- */

/* io_uring asks: perhaps more than once, and also for one that is on its way to completion. */
static void cancel(struct io_uring_cmd *cmd, unsigned int flags)
{
	struct mqshm_handle *h = cmd->file->private_data;
	struct pending *p = to_pending(cmd);
	bool ours;

	spin_lock_irq(lock_of(h));
	ours = !list_empty(&p->list);
	list_del_init(&p->list);
	unhook_if_idle(h);
	spin_unlock_irq(lock_of(h));
	if (ours)
		uring_cmd_done(cmd, -ECANCELED, flags);
}

/* Where io_uring does not ask, we look. Twice, as an exec may still fail. */
static void find_orphans(struct work_struct *work)
{
	struct mqshm_handle *h = container_of(to_delayed_work(work), struct mqshm_handle, orphans);
	struct pending *p, *next;
	LIST_HEAD(ready);

	spin_lock_irq(lock_of(h));
	list_for_each_entry_safe(p, next, &h->pending, list) {
		bool before = p->orphan;

		p->orphan = uring_cmd_is_orphan(to_command(p));
		if (before && p->orphan) {
			p->result = -ECANCELED;
			list_move_tail(&p->list, &ready);
		}
	}
	unhook_if_idle(h);
	if (!list_empty(&h->pending))
		queue_delayed_work(mqshm_work, &h->orphans, HZ / 10);
	complete_these(&ready); /* uring_exit() waits for us */
	spin_unlock_irq(lock_of(h));
}

/* ---- the command ---- */

static int wait_for(struct mqshm_handle *h, struct io_uring_cmd *cmd, u32 count, unsigned int flags)
{
	struct pending *p = to_pending(cmd);
	int rc = look(h, count);

	if (rc <= 0)
		return rc;
	INIT_LIST_HEAD(&p->list);
	p->count = count;
	p->orphan = false;
	io_uring_cmd_mark_cancelable(cmd, flags); /* from here on it ends by uring_cmd_done() only */
	spin_lock_irq(lock_of(h));
	if (list_count_nodes(&h->pending) >= PENDING_MAX) {
		spin_unlock_irq(lock_of(h));
		uring_cmd_done(cmd, -EBUSY, flags);
		return -EIOCBQUEUED;
	}
	list_add_tail(&p->list, &h->pending);
	if (list_empty(&h->commands.entry))
		__add_wait_queue(&h->queue->words[word_of(h)], &h->commands);
	if (!uring_cancels)
		queue_delayed_work(mqshm_work, &h->orphans, HZ / 10);
	complete_ready(h);
	spin_unlock_irq(lock_of(h));
	return -EIOCBQUEUED;
}

int handle_uring_cmd(struct io_uring_cmd *cmd, unsigned int flags)
{
	struct mqshm_handle *h = cmd->file->private_data;
	const struct mqshm_uring_wait *wait;
	u32 count;

	if (flags & IO_URING_F_CANCEL) {
		cancel(cmd, flags);
		return 0;
	}
	if (flags & IO_URING_F_IOPOLL)
		return -EOPNOTSUPP;
	if (cmd->cmd_op != MQSHM_URING_WAIT)
		return -ENOTTY;
	wait = uring_cmd_payload(cmd, struct mqshm_uring_wait);
	count = READ_ONCE(wait->count); /* it may still lie in the ring */
	if (cmd->flags & 0xffffff /* the rest is io_uring's own */ || count - 1 >= h->queue->info->node_count ||
	    READ_ONCE(wait->reserved[0]) || READ_ONCE(wait->reserved[1]) || READ_ONCE(wait->reserved[2]))
		return -EINVAL;
	/* with role_attach(): the owner and slot of a role that is seen */
	if (!smp_load_acquire(&h->role) || !handle_is_owner(h))
		return -EPERM;
	return wait_for(h, cmd, count, flags);
}

void uring_init(struct mqshm_handle *h)
{
	INIT_LIST_HEAD(&h->pending);
	init_waitqueue_func_entry(&h->commands, on_wake);
	INIT_LIST_HEAD(&h->commands.entry);
	INIT_DELAYED_WORK(&h->orphans, find_orphans);
}

/* The file is being released: nothing is pending. */
void uring_exit(struct mqshm_handle *h)
{
	cancel_delayed_work_sync(&h->orphans);
}
