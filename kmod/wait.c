// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sleeping and waking. The protocol is that of the library on futexes: a sleeper makes the word odd, fences, looks again and
 * sleeps while the word has that value; who publishes fences, sees it odd, makes it even and wakes all. poll() is a sleeper
 * that looks by itself. MO-n: docs/memory-model.md.
 */
#include <linux/hrtimer.h>
#include <linux/math64.h>
#include <linux/sched/signal.h>

#include "kmod.h"
#include "trace.h"

u32 *queue_word(struct mqshm_queue *q, u32 word)
{
	switch (word) {
	case MQSHM_WORD_DATA:
		return &q->info->data.word;
	case MQSHM_WORD_ROOM:
		return &q->info->room.word;
	case MQSHM_WORD_EVENT:
		return &q->info->event.word;
	case MQSHM_WORD_LOCK:
		return &q->producer->lock;
	}
	return NULL;
}

u32 word_arm(struct mqshm_queue *q, u32 word)
{
	u32 *at = queue_word(q, word), value = READ_ONCE(*at), seen;

	while (!(value & 1)) {
		seen = cmpxchg(at, value, value + 1);
		value = seen == value ? value + 1 : seen;
	}
	return value;
}

/*
 * Sleepers are taken off the list first and woken without its lock, as by the kernel's wake_q, which modules can't use: one that
 * is awake needs the lock for its next sleep, and would spin on it if the waker was preempted with it by just that wake-up
 * (in a virtual machine, for milliseconds). The task may be awake by then for another reason; a wake-up too many does no harm.
 */
static int wake_sleeper(struct wait_queue_entry *entry, unsigned int mode, int sync, void *key)
{
	struct task_struct *sleeper = get_task_struct(entry->private);

	list_del_init_careful(&entry->entry);
	wake_up_process(sleeper);
	put_task_struct(sleeper);
	return 1;
}

static void wake_all(wait_queue_head_t *queue)
{
	struct task_struct *sleepers[16];
	struct wait_queue_entry *entry, *next;
	int count = ARRAY_SIZE(sleepers);
	unsigned long flags;
	bool pollers;

	/* A limit, as others may sleep again and again meanwhile. */
	for (int round = 0; round < 64 && count == ARRAY_SIZE(sleepers); round++) {
		count = 0;
		pollers = false;
		spin_lock_irqsave(&queue->lock, flags);
		list_for_each_entry_safe(entry, next, &queue->head, entry) {
			if (entry->func != wake_sleeper) {
				pollers = true;
				continue;
			}
			sleepers[count++] = get_task_struct(entry->private);
			list_del_init_careful(&entry->entry);
			if (count == ARRAY_SIZE(sleepers))
				break;
		}
		spin_unlock_irqrestore(&queue->lock, flags);
		for (int i = 0; i < count; i++) {
			wake_up_process(sleepers[i]);
			put_task_struct(sleepers[i]);
		}
	}
	if (pollers || count == ARRAY_SIZE(sleepers))
		wake_up_all(queue);
}

void word_wake(struct mqshm_queue *q, u32 word)
{
	u32 *at = queue_word(q, word), value = READ_ONCE(*at), seen;

	if (word != MQSHM_WORD_LOCK) {
		/* One who arms again after this sees the state that was published before it (MO-2, MO-5). */
		while (value & 1) {
			seen = cmpxchg(at, value, value + 1);
			if (seen == value)
				break;
			value = seen;
		}
		if (!(value & 1))
			return;
	}
	trace_mqshm_wake(q, word, READ_ONCE(*at));
	wake_all(&q->words[word]);
}

void queue_wake_all(struct mqshm_queue *q)
{
	/* MO-2: before epoch; who has read this one and looks then finds what was changed, or it will not sleep on this epoch */
	smp_store_release(&q->info->epoch, q->info->epoch + 1);
	smp_mb(); /* MO-2, MO-5: what was changed is out before we look who sleeps */
	for (u32 word = MQSHM_WORD_DATA; word <= MQSHM_WORD_EVENT; word++)
		word_wake(q, word);
	wake_all(&q->words[MQSHM_WORD_LOCK]);
}

/* The lock's word names its holder, and stays as it is when that one dies: who sleeps on it shall take it then. */
static bool holder_lives(struct mqshm_queue *q, u32 value)
{
	u32 slot = (value & 0xff) - 1, state;

	if (slot >= q->info->max_producers)
		return false;
	state = READ_ONCE(q->participants[slot].state);
	return MQSHM_SLOT_STATE(state) == MQSHM_SLOT_LIVE &&
	       !((state ^ value) & ~(0xff | MQSHM_LOCK_WAITERS));
}

static bool has_news(struct mqshm_queue *q, const struct mqshm_ioc_wait *w)
{
	return READ_ONCE(q->producer->tail) >= w->until || READ_ONCE(q->info->epoch) != w->epoch;
}

static bool is_over(struct mqshm_handle *h, const struct mqshm_ioc_wait *w)
{
	struct mqshm_queue *q = h->queue;

	return READ_ONCE(*queue_word(q, w->word)) != w->value || READ_ONCE(h->ended) ||
	       (w->word != MQSHM_WORD_LOCK && !(w->value & 1)) || /* not armed: nobody would wake us */
	       (w->flags & MQSHM_IOC_FOR_DATA && has_news(q, w)) ||
	       (w->word == MQSHM_WORD_LOCK && !holder_lives(q, w->value));
}

/* Make the word odd, if nobody has woken since it was value. Another sleeper may have made it so. */
static void arm_on_the_way(struct mqshm_queue *q, struct mqshm_ioc_wait *w)
{
	u32 seen;

	if (w->value & 1 || has_news(q, w)) /* who won't sleep costs nobody a wake-up */
		return;
	seen = cmpxchg(queue_word(q, w->word), w->value, w->value + 1); /* MO-2: armed before is_over() looks */
	if (seen == w->value || seen == w->value + 1)
		w->value++;
}

/*
 * False: the time is over. A timer of the wheel costs less to start and to stop than one of high resolution, and few sleeps
 * last until it fires; but it may be late by 1/8, so the rest of a long sleep is for the other one.
 */
static bool sleep_until(ktime_t *end)
{
	s64 left = ktime_sub(*end, ktime_get());

	if (*end == KTIME_MAX || left < 150 * NSEC_PER_MSEC)
		return schedule_hrtimeout(end, HRTIMER_MODE_ABS);
	schedule_timeout(nsecs_to_jiffies(left - left / 8));
	return true;
}

/* -ERESTARTNOHAND: a signal, without a handler (stop and continue) the call begins again with the ns that are left then. */
int handle_wait(struct mqshm_handle *h, struct mqshm_ioc_wait *w)
{
	wait_queue_head_t *queue = &h->queue->words[w->word];
	ktime_t end = w->ns >= KTIME_MAX ? KTIME_MAX : ktime_add_safe(ktime_get(), ns_to_ktime(w->ns));
	DEFINE_WAIT_FUNC(entry, wake_sleeper);
	int rc;

	if (w->flags & MQSHM_IOC_FOR_DATA)
		arm_on_the_way(h->queue, w);
	trace_mqshm_wait(h->queue, w->word, w->value);
	do {
		rc = prepare_to_wait_event(queue, &entry, TASK_INTERRUPTIBLE);
		if (is_over(h, w)) {
			rc = 0;
			break;
		}
	} while (!rc && sleep_until(&end));
	finish_wait(queue, &entry);
	if (rc && end != KTIME_MAX)
		w->ns = max_t(s64, ktime_sub(end, ktime_get()), 0);
	return rc ? -ERESTARTNOHAND : 0;
}

/* ---- poll ---- */

static __poll_t poll_consumer(struct mqshm_handle *h)
{
	struct mqshm_queue *q = h->queue;
	struct mqshm_consumer_area *area = queue_area(q, h->slot - q->info->max_producers);
	/* the state first: what was pushed before the end is then seen in tail */
	u64 state = MQSHM_EPOCH_STATE(smp_load_acquire(&q->info->producer_epoch));
	__poll_t mask = 0;

	if (state == MQSHM_EPOCH_CLOSED || state == MQSHM_EPOCH_CRASHED)
		mask |= EPOLLHUP;
	if (READ_ONCE(q->producer->tail) != READ_ONCE(area->position))
		mask |= EPOLLIN | EPOLLRDNORM;
	return mask;
}

bool queue_read_tail(struct mqshm_queue *q, u64 *tail, u64 *next)
{
	for (int tries = 0; tries < 100; tries++) {
		*tail = smp_load_acquire(&q->producer->tail); /* MO-1 */
		for (int i = 0; i < 2; i++) {
			if (READ_ONCE(q->producer->record[i].end) != *tail)
				continue;
			*next = READ_ONCE(q->producer->record[i].next);
			smp_rmb(); /* MO-8: a record is rewritten only after the next tail is out */
			if (READ_ONCE(q->producer->tail) == *tail)
				return true;
		}
	}
	return false;
}

/*
 * Would count messages of block_size fit? Else *slowest, a consumer's slot, is in the way, with its cursor at *floor, at
 * least until it is at *need; -1: the hold. The sums may wrap: the answer is then as wrong as what users wrote.
 */
static bool has_room(struct mqshm_queue *q, u32 count, int *slowest, u64 *floor, u64 *need)
{
	const struct mqshm_info *info = q->info;
	u64 bytes = mqshm_node_bytes(info), head = READ_ONCE(q->producer->head);
	u64 tail, next, offset, end, lowest, sequence = U64_MAX, missing;

	if (!queue_read_tail(q, &tail, &next))
		return true; /* it is none: let the producer see that */
	div64_u64_rem(tail - info->base_position, info->ring_bytes, &offset);
	end = tail + count * bytes;
	if (offset + count * bytes > info->ring_bytes) /* what is left before the end of the ring may be lost */
		end += min(info->ring_bytes - offset, bytes);
	*slowest = -1;
	lowest = tail;
	/* MO-9 */
	if (smp_load_acquire(&info->hold)) {
		lowest = head;
		sequence = READ_ONCE(q->producer->head_sequence);
	} else {
		for (u32 slot = 0; slot < info->max_consumers; slot++) {
			struct mqshm_consumer_area *area = queue_area(q, slot);
			u64 position, of;

			if (!(READ_ONCE(info->reliable[slot / 64]) >> slot % 64 & 1))
				continue;
			position = READ_ONCE(area->position);
			of = READ_ONCE(area->sequence);
			if (position > tail || position < head)
				continue; /* none, or one that is joining */
			if (position < lowest || (position == lowest && *slowest < 0)) {
				lowest = position;
				*slowest = slot;
			}
			sequence = min(sequence, of);
		}
	}
	missing = sequence == U64_MAX || next + count - sequence <= info->node_count ? 0 :
		  next + count - sequence - info->node_count;
	/* Each of the messages that must be read has at least a header. */
	*need = max(lowest + missing * info->node_header_bytes, end - min(end, info->ring_bytes));
	*floor = lowest;
	return *need <= lowest;
}

/*
 * As a producer that sleeps we say for whom we wait. Not for a quarter of what that one has left, as the library does, which
 * looks again by itself; and no more than somebody else may be waiting for, as there is one place to say it.
 */
bool queue_wants_room(struct mqshm_queue *q, u32 count)
{
	struct mqshm_producer_page *page = q->producer;
	u64 floor, need, other;
	int slowest, said = -1;
	bool stands;

	/* Until what we have said stands when we look: the one in the way may be another each time. */
	for (int tries = 0; tries < 8; tries++) {
		if (has_room(q, count, &slowest, &floor, &need))
			return true;
		other = READ_ONCE(page->need);
		stands = READ_ONCE(page->blocked_on) == slowest + 1 && other > floor && other <= need;
		if (stands && said == slowest + 1)
			return false;
		if (!stands)
			WRITE_ONCE(page->need, need);
		WRITE_ONCE(page->blocked_on, slowest + 1);
		said = slowest + 1;
		smp_mb(); /* MO-5 */
	}
	return true; /* who looks will see */
}

__poll_t handle_poll(struct file *file, poll_table *table)
{
	struct mqshm_handle *h = file->private_data;
	struct mqshm_queue *q = h->queue;
	/* with role_attach(): the owner and slot of a role that is seen */
	u32 role = smp_load_acquire(&h->role), word = role == MQSHM_IOC_CONSUMER ? MQSHM_WORD_DATA :
						      role == MQSHM_IOC_PRODUCER ? MQSHM_WORD_ROOM : MQSHM_WORD_EVENT;

	poll_wait(file, &q->words[word], table);
	word_arm(q, word);
	smp_mb(); /* MO-2, MO-5: armed before we look */
	if (READ_ONCE(h->ended))
		return EPOLLERR | EPOLLIN | EPOLLRDNORM;
	if (role == MQSHM_IOC_CONSUMER)
		return poll_consumer(h);
	if (role == MQSHM_IOC_PRODUCER)
		return queue_wants_room(q, 1) ? EPOLLOUT | EPOLLWRNORM : 0;
	if (READ_ONCE(q->dead))
		return EPOLLERR | EPOLLHUP;
	return READ_ONCE(q->info->epoch) != READ_ONCE(h->seen_epoch) ? EPOLLIN | EPOLLPRI | EPOLLRDNORM : 0;
}
