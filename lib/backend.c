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

void mqshm_wake(struct mqshm_mapping *mapping, struct mqshm_armed *armed)
{
	uint32_t value = READ_ONCE(armed->word);

	/* One who arms again after this CAS sees the state that we published before it (MO-2, MO-5). */
	while (value & 1)
		if (__atomic_compare_exchange_n(&armed->word, &value, value + 1, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED)) {
			mapping->backend->wake(mapping, &armed->word);
			return;
		}
}

const char *mqshm_who(const struct mqshm_participant *participant, char *buffer, size_t size)
{
	char comm[sizeof participant->comm + 1] = "";

	for (size_t i = 0; i < sizeof participant->comm && participant->comm[i]; i++)
		comm[i] = participant->comm[i] >= ' ' && participant->comm[i] < 127 ? (char)participant->comm[i] : '?';
	snprintf(buffer, size, "pid %u (%s)", participant->pid, comm);
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
	__atomic_compare_exchange_n(&ring->info->producer_epoch, &word, (word & ~3ULL) | how, false, __ATOMIC_ACQ_REL,
				    __ATOMIC_RELAXED); /* MO-12 release */
}
