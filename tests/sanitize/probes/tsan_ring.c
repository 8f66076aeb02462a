/* SPDX-License-Identifier: MIT */
/*
 * For ThreadSanitizer: the ring of include/mqshm/ring.h over a plain array. One writer, two reliable readers of which
 * one leaves and joins again and again, one lossy reader. Payloads go in by memcpy and are checked, so that each ordered
 * pair that a payload depends on is one that the sanitizer sees. tsan_ring [MESSAGES]
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "layout.h"

#define NODES 16
#define BLOCK 64

static struct mqshm_ring ring;
static uint64_t messages = 100000, delivered[3];
static int done; /* the writer has published all */

static void die(const char *what)
{
	fprintf(stderr, "tsan_ring: %s\n", what);
	_exit(3);
}

static void fill(unsigned char *to, uint64_t sequence, uint32_t size)
{
	memset(to, (int)(sequence % 251), size);
}

static uint32_t size_of(uint64_t sequence)
{
	return (uint32_t)(sequence * 7 % (BLOCK + 1));
}

static void *writer(void *arg)
{
	static struct mqshm_writer w;
	unsigned char block[BLOCK];

	(void)arg;
	w.ring = &ring;
	if (writer_take_over(&w))
		die("take-over");
	while (w.sequence < messages) {
		uint32_t size = size_of(w.sequence);
		unsigned char *payload;
		int rc = writer_stage(&w, size, &payload);

		if (rc == -EAGAIN) {
			sched_yield();
			continue;
		}
		if (rc)
			die("stage");
		fill(block, w.sequence, size);
		memcpy(payload, block, size);
		writer_finish(&w, size, 0);
		if (w.sequence % 3 == 0)
			sched_yield();
		writer_publish(&w);
	}
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* As a backend does it. */
static void join(struct mqshm_reader *rd, uint32_t slot, bool lossy, int start)
{
	struct mqshm_participant *p = ring_consumer(&ring, slot);
	uint32_t generation = MQSHM_SLOT_GENERATION(READ_ONCE(p->state)) + 1;

	memset(rd, 0, sizeof *rd);
	rd->ring = &ring;
	rd->slot = slot;
	rd->lossy = lossy;
	smp_store_release(&p->state, generation << 8 | MQSHM_SLOT_JOINING);
	if (reader_join(rd, start, false))
		die("join");
}

static void leave(struct mqshm_reader *rd)
{
	smp_store_release(&ring_consumer(&ring, rd->slot)->state, (rd->state & ~0xffu) | MQSHM_SLOT_ENDED);
	__atomic_fetch_and(&ring.info->reliable[rd->slot / 64], ~(1ULL << rd->slot % 64), __ATOMIC_ACQ_REL);
	__atomic_fetch_add(&ring.info->epoch, 1, __ATOMIC_ACQ_REL);
}

/* 0: a message; -EAGAIN: none. */
static int read_one(struct mqshm_reader *rd)
{
	unsigned char got[BLOCK], wanted[BLOCK];
	struct mqshm_found f = { 0 };
	int rc = reader_find(rd, rd->position, rd->offset, rd->sequence, &f), valid;

	if (rc == -EAGAIN && !rd->lossy)
		return rc;
	if (!rc && rd->lossy)
		racy_copy(got, f.payload, f.size);
	else if (!rc)
		memcpy(got, f.payload, f.size);
	valid = reader_validate(rd);
	if (valid == -EAGAIN) {
		if (reader_resync(rd))
			die("resync");
		return 1;
	}
	if (valid || rc == -EBADMSG)
		die("damaged");
	if (rc)
		return rc;
	fill(wanted, f.sequence, f.size);
	if (f.size != size_of(f.sequence) || memcmp(got, wanted, f.size))
		die("a message is not what was written");
	rd->laps = 0;
	reader_advance(rd, f.next, f.next_offset, f.sequence + 1);
	delivered[rd->slot]++;
	return 0;
}

static void *reader(void *arg)
{
	uint32_t slot = (uint32_t)(uintptr_t)arg;
	struct mqshm_reader rd;

	join(&rd, slot, slot == 2, slot == 1 ? 0 : 1);
	for (uint64_t n = 1;; n++) {
		int end = __atomic_load_n(&done, __ATOMIC_ACQUIRE); /* before looking for the last message */
		int rc = read_one(&rd);

		if (rc == -EAGAIN) {
			if (end)
				break;
			sched_yield();
		}
		if (slot == 1 && n % 50 == 0) { /* begins at the latest and at the oldest in turns */
			leave(&rd);
			join(&rd, slot, false, n / 50 % 2);
		}
	}
	leave(&rd);
	return NULL;
}

int main(int argc, char **argv)
{
	struct mqshm_queue_options options = { .size = sizeof options, .node_count = NODES, .block_size = BLOCK,
					       .max_consumers = 3 };
	struct mqshm_info plan;
	pthread_t threads[4];
	void *object;

	if (argc > 1)
		messages = strtoull(argv[1], NULL, 10);
	if (mqshm_plan(&plan, "tsan", &options, MQSHM_LINE))
		die("plan");
	object = aligned_alloc(4096, plan.total_bytes);
	memset(object, 0, plan.total_bytes);
	mqshm_format(object, &plan);
	mqshm_ring_init(&ring, &plan, object);
	for (uintptr_t slot = 0; slot < 3; slot++)
		pthread_create(&threads[slot], NULL, reader, (void *)slot);
	while (MQSHM_SLOT_STATE(smp_load_acquire(&ring_consumer(&ring, 0)->state)) != MQSHM_SLOT_LIVE)
		sched_yield(); /* reader 0 shall get all */
	pthread_create(&threads[3], NULL, writer, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	printf("# delivered of %llu: %llu to the one who stayed, %llu to the one who came and went, %llu lossy\n",
	       (unsigned long long)messages, (unsigned long long)delivered[0], (unsigned long long)delivered[1],
	       (unsigned long long)delivered[2]);
	if (delivered[0] != messages || !delivered[1] || !delivered[2])
		die("not all were delivered");
	free(object);
	return 0;
}
