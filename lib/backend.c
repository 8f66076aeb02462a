/* SPDX-License-Identifier: MIT */
/* Which backend to use, and the small things all backends share. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "backend.h"
#include "error.h"

int mqshm_backend_get(const struct mqshm_backend **out)
{
	const char *wanted = getenv("MQSHM_BACKEND");

	*out = &mqshm_backend_posix;
	if (wanted && *wanted && strcmp(wanted, "auto") && strcmp(wanted, (*out)->name))
		return mqshm_error(-EINVAL, "MQSHM_BACKEND is '%s', not auto or posix", wanted);
	return 0;
}

int mqshm_attach_begin(struct mqshm_attach *how, const struct mqshm_queue_options *queue,
		       struct mqshm_queue_options *read, const struct mqshm_backend **backend)
{
	int rc = mqshm_check_name(how->name);

	if (!rc)
		rc = mqshm_backend_get(backend);
	if (!rc && queue) {
		rc = mqshm_read_options(read, queue);
		how->queue = read;
	}
	return rc;
}

uint64_t mqshm_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t mqshm_deadline(int timeout_ms)
{
	return timeout_ms < 0 ? MQSHM_FOREVER : mqshm_now_ns() + (uint64_t)timeout_ms * 1000000u;
}

uint32_t mqshm_arm(struct mqshm_armed *armed)
{
	uint32_t value = READ_ONCE(armed->word);

	while (!(value & 1))
		if (try_cmpxchg(&armed->word, &value, value + 1, ACQ_REL))
			value++;
	return value;
}

void mqshm_wake(struct mqshm_mapping *mapping, struct mqshm_armed *armed)
{
	uint32_t value = READ_ONCE(armed->word);

	/* One who arms again after this CAS sees the state that we published before it (MO-2, MO-5). */
	while (value & 1)
		if (try_cmpxchg(&armed->word, &value, value + 1, ACQ_REL)) {
			mapping->backend->wake(mapping, &armed->word);
			return;
		}
}

const char *mqshm_who(const struct mqshm_participant *participant, char *buffer, size_t size)
{
	char comm[sizeof participant->comm + 1] = "";

	for (size_t i = 0; i < sizeof participant->comm; i++) {
		__u8 c = READ_ONCE(participant->comm[i]);

		if (!c)
			break;
		comm[i] = c >= ' ' && c < 127 ? (char)c : '?';
	}
	snprintf(buffer, size, "pid %u (%s)", READ_ONCE(participant->pid), comm);
	return buffer;
}

int mqshm_lost_role(const struct mqshm_mapping *m)
{
	const struct mqshm_participant *self = &m->ring.participants[m->participant];
	bool same = MQSHM_SLOT_GENERATION(smp_load_acquire(&self->state)) == MQSHM_SLOT_GENERATION(m->state);
	uint32_t why = same ? READ_ONCE(self->why) : 0, by = READ_ONCE(self->ended_by);

	if (why == MQSHM_WHY_SLOW)
		return mqshm_error(-ECONNABORTED, "evicted from queue '%s' by pid %u: it was held back for %u ms", m->name,
				   by, m->ring.slow_ms);
	if (why == MQSHM_WHY_BY_HAND)
		return mqshm_error(-ECONNABORTED, "evicted from queue '%s' by hand (pid %u)", m->name, by);
	if (why == MQSHM_WHY_HOSTILE)
		return mqshm_error(-ECONNABORTED, "evicted from queue '%s' by pid %u: the cursor was out of bounds", m->name,
				   by);
	if (READ_ONCE(m->ring.info->dead)) /* after why: without who was evicted the queue may have gone */
		return mqshm_error(-ESTALE, "queue '%s' was removed", m->name);
	return mqshm_error(-ESTALE, "this handle of queue '%s' has lost its role", m->name);
}

int mqshm_check_producers(struct mqshm_mapping *m)
{
	int rc = m->backend->check_self(m);

	if (rc || MQSHM_EPOCH_STATE(READ_ONCE(m->ring.info->producer_epoch)) != MQSHM_EPOCH_ACTIVE)
		return rc;
	for (uint32_t i = 0; i < m->ring.max_producers; i++)
		if (MQSHM_SLOT_STATE(READ_ONCE(m->ring.participants[i].state)) == MQSHM_SLOT_LIVE &&
		    m->backend->check(m, i))
			return 0; /* one is enough for the stream to go on */
	/* One that is just closing has freed its slot and is about to say how the stream ended; or there is a next. */
	for (uint32_t i = 0; i < m->ring.max_producers; i++)
		if (MQSHM_SLOT_STATE(READ_ONCE(m->ring.participants[i].state)) != MQSHM_SLOT_ENDED &&
		    m->backend->check(m, i))
			return 0;
	mqshm_settle_producers(&m->ring, MQSHM_EPOCH_CRASHED);
	return 1;
}

const char *mqshm_role_text(const struct mqshm_ring *ring, uint32_t i, char *buffer)
{
	bool producer = i < ring->max_producers;
	char who[64];

	snprintf(buffer, MQSHM_ROLE_TEXT, "%s %u of %s", producer ? "producer" : "consumer",
		 producer ? i : i - ring->max_producers, mqshm_who(&ring->participants[i], who, sizeof who));
	return buffer;
}

void mqshm_settle_producers(struct mqshm_ring *ring, uint32_t how)
{
	__u64 word = smp_load_acquire(&ring->info->producer_epoch);

	if (MQSHM_EPOCH_STATE(word) != MQSHM_EPOCH_ACTIVE)
		return;
	smp_mb(); /* MO-13: our own slot was freed before we look at the others': the last of two sees both */
	for (uint32_t i = 0; i < ring->max_producers; i++)
		if (MQSHM_SLOT_STATE(smp_load_acquire(&ring->participants[i].state)) == MQSHM_SLOT_LIVE)
			return;
	/* Fails when a new producer has attached meanwhile. */
	try_cmpxchg(&ring->info->producer_epoch, &word, (word & ~3ULL) | how, ACQ_REL); /* MO-12 release */
}
