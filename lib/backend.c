/* SPDX-License-Identifier: MIT */
/* Which backend to use, and the small things all backends share. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"
#include "error.h"

int mqshm_backends(const struct mqshm_backend *list[MQSHM_BACKENDS])
{
	static const struct mqshm_backend *const all[MQSHM_BACKENDS] = { &mqshm_backend_kernel, &mqshm_backend_posix };
	const char *wanted = getenv("MQSHM_BACKEND");
	bool any = !wanted || !*wanted || !strcmp(wanted, "auto"), known = any;
	const struct mqshm_backend *found_only = NULL;
	int count = 0;

	for (int i = 0; i < MQSHM_BACKENDS; i++) {
		int rc;

		if (!any && strcmp(wanted, all[i]->name))
			continue;
		known = true;
		rc = all[i]->probe ? all[i]->probe(!any) : 0;
		if (!rc)
			list[count++] = all[i];
		else if (rc > 0)
			found_only = all[i];
		else if (!any)
			return rc;
	}
	if (found_only) /* last: what is created is created on the first */
		list[count++] = found_only;
	return known ? count : mqshm_error(-EINVAL, "MQSHM_BACKEND is '%s', not auto, kernel or posix", wanted);
}

int mqshm_above_standard(int fd)
{
	int high, saved;

	if (fd < 0 || fd > 2)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	saved = errno;
	close(fd);
	errno = saved;
	return high;
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

uint32_t mqshm_arm(struct mqshm_mapping *mapping, struct mqshm_armed *armed)
{
	uint32_t value = READ_ONCE(armed->word);

	if (mapping->backend->arm)
		return value & 1 ? value : mapping->backend->arm(mapping, armed);
	while (!(value & 1))
		if (try_cmpxchg(&armed->word, &value, value + 1, ACQ_REL))
			value++;
	return value;
}

void mqshm_wake(struct mqshm_mapping *mapping, struct mqshm_armed *armed)
{
	uint32_t value = READ_ONCE(armed->word);

	if (value & 1 && mapping->backend->wake_armed) {
		mapping->backend->wake_armed(mapping, armed);
		return;
	}
	/* One who arms again after this CAS sees the state that we published before it (MO-2, MO-5). */
	while (value & 1)
		if (try_cmpxchg(&armed->word, &value, value + 1, ACQ_REL)) {
			mapping->backend->wake(mapping, &armed->word);
			return;
		}
}

void mqshm_disturb(struct mqshm_mapping *mapping, struct mqshm_armed *armed)
{
	if (mapping->backend->sleep_for_data)
		mqshm_arm(mapping, armed); /* so that waking makes it another word than who has not armed yet has read */
	mqshm_wake(mapping, armed);
}

uint64_t mqshm_lease_left(const struct mqshm_participant *participant)
{
	uint64_t until = READ_ONCE(participant->lease_until_ns), now = mqshm_now_ns();
	uint32_t ms = READ_ONCE(participant->lease_ms);
	uint64_t most = (ms < MQSHM_LEASE_MS_MAX ? ms : MQSHM_LEASE_MS_MAX) * 1000000ull;

	if (until <= now)
		return 0;
	return until - now < most ? until - now : most;
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

	if (rc || m->backend->ends_roles ||
	    MQSHM_EPOCH_STATE(READ_ONCE(m->ring.info->producer_epoch)) != MQSHM_EPOCH_ACTIVE)
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

int mqshm_device_fd(struct mqshm_mapping *m)
{
	int fd;

	if (!m->backend->descriptor)
		return mqshm_error(-ENOTSUP, "queue '%s' is in shared memory: only the kernel module's have a device", m->name);
	fd = m->backend->descriptor(m);
	return fd >= 0 ? fd : mqshm_error(-ESTALE, "the descriptor of queue '%s' was closed by this process", m->name);
}
