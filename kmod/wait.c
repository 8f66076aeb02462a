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
	wake_up_all(&q->words[word]);
}

void queue_wake_all(struct mqshm_queue *q)
{
	WRITE_ONCE(q->info->epoch, q->info->epoch + 1);
	smp_mb(); /* MO-2, MO-5: what was changed is out before we look who sleeps */
	for (u32 word = MQSHM_WORD_DATA; word <= MQSHM_WORD_EVENT; word++)
		word_wake(q, word);
	wake_up_all(&q->words[MQSHM_WORD_LOCK]);
}

static bool changed(struct mqshm_handle *h, u32 *at, u32 value)
{
	return READ_ONCE(*at) != value || READ_ONCE(h->ended);
}

int handle_wait(struct mqshm_handle *h, const struct mqshm_ioc_wait *w)
{
	wait_queue_head_t *queue = &h->queue->words[w->word];
	u32 *at = queue_word(h->queue, w->word);
	int rc;

	trace_mqshm_wait(h->queue, w->word, w->value);
	if (w->ns >= KTIME_MAX)
		rc = wait_event_interruptible(*queue, changed(h, at, w->value));
	else
		rc = wait_event_interruptible_hrtimeout(*queue, changed(h, at, w->value), ns_to_ktime(w->ns));
	return rc == -ERESTARTSYS ? -EINTR : 0;
}

/* ---- poll ---- */

static __poll_t poll_consumer(struct mqshm_handle *h)
{
	struct mqshm_queue *q = h->queue;
	struct mqshm_consumer_area *area = queue_area(q, h->slot - q->info->max_producers);
	u64 state = MQSHM_EPOCH_STATE(smp_load_acquire(&q->info->producer_epoch));
	__poll_t mask = 0;

	if (state == MQSHM_EPOCH_CLOSED || state == MQSHM_EPOCH_CRASHED)
		mask |= EPOLLHUP;
	if (READ_ONCE(q->producer->tail) != READ_ONCE(area->position))
		mask |= EPOLLIN | EPOLLRDNORM;
	return mask;
}

/* The sums may wrap: the answer is then as wrong as what users wrote. */
bool queue_has_room(struct mqshm_queue *q, u32 count, int *slowest, u64 *floor)
{
	const struct mqshm_info *info = q->info;
	u64 tail = READ_ONCE(q->producer->tail), head = READ_ONCE(q->producer->head), lowest = tail, next = 0, offset;
	u64 bytes = mqshm_node_bytes(info), end, sequence = U64_MAX;

	for (int i = 0; i < 2; i++)
		if (READ_ONCE(q->producer->record[i].end) == tail)
			next = READ_ONCE(q->producer->record[i].next);
	div64_u64_rem(tail - info->base_position, info->ring_bytes, &offset);
	end = tail + count * bytes;
	if (offset + count * bytes > info->ring_bytes) /* what is left before the end of the ring may be lost */
		end += min(info->ring_bytes - offset, bytes);
	*slowest = -1;
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
	*floor = lowest;
	return end - lowest <= info->ring_bytes && (sequence == U64_MAX || next + count - sequence <= info->node_count);
}

static __poll_t poll_producer(struct mqshm_handle *h)
{
	struct mqshm_queue *q = h->queue;
	int slowest;
	u64 floor;

	for (int tries = 0; tries < 2; tries++) {
		if (queue_has_room(q, 1, &slowest, &floor))
			return EPOLLOUT | EPOLLWRNORM;
		/* Say whom we wait for, as a producer does that sleeps, but wake us when it moves at all; then look once more. */
		if (slowest >= 0)
			WRITE_ONCE(q->producer->need, floor + 1);
		WRITE_ONCE(q->producer->blocked_on, slowest + 1);
		smp_mb(); /* MO-5 */
	}
	return 0;
}

__poll_t handle_poll(struct file *file, poll_table *table)
{
	struct mqshm_handle *h = file->private_data;
	struct mqshm_queue *q = h->queue;
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
		return poll_producer(h);
	if (READ_ONCE(q->dead))
		return EPOLLERR | EPOLLHUP;
	return READ_ONCE(q->info->epoch) != READ_ONCE(h->seen_epoch) ? EPOLLIN | EPOLLPRI | EPOLLRDNORM : 0;
}
