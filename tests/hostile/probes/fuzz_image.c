/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: a queue in memory that an attacker writes, and the library above it. An input is a geometry, then a
 * list of steps: calls of the library, and edits of any place of the queue, at once or just before the n-th load that a
 * later call makes (see shim/). Each region is an allocation of exactly its size, so that the address sanitizer sees
 * every access beyond one. Backend and clock are simulated here: nothing sleeps, nothing is in /dev/shm.
 *
 * Red, besides what sanitizers find: more than LOADS_MOST loads or SLEEPS_MOST sleeps in one call, a result that is not
 * documented, an error without a sentence, a message that is none.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend.h"
#include "error.h"
#include "hostile/probes/fuzz.h"

#define BYTES_MOST (1 << 18) /* of an object: it is allocated anew for each input */
#define LOADS_MOST 500000    /* in one call: above what joining may try over and over */
#define SLEEPS_MOST 1000
#define PENDING 4
#define PRODUCERS 2
#define CONSUMERS 3

static struct input in;
static struct mqshm_info plan;
static struct mqshm_ring ring;
static struct mqshm_producer *producers[PRODUCERS];
static struct mqshm_consumer *consumers[CONSUMERS];
static struct region {
	unsigned char *at;
	size_t size;
} regions[5];
static struct edit {
	uint64_t countdown; /* loads until it happens, 0: free */
	unsigned char *at;
	size_t size;
	uint64_t value;
} pending[PENDING];
static uint64_t loads, sleeps, clock_ns;
static const char *step;

static __attribute__((format(printf, 1, 2), noreturn)) void red(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "RED: %s: ", step);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

static void apply(struct edit *e)
{
	memcpy(e->at, &e->value, e->size);
	e->countdown = 0;
}

void fuzz_load(void)
{
	if (++loads > LOADS_MOST)
		red("there is no end");
	for (int i = 0; i < PENDING; i++)
		if (pending[i].countdown && --pending[i].countdown == 0)
			apply(&pending[i]);
}

/* The library is compiled to ask this clock: time goes on with each look. */
int fuzz_clock_gettime(clockid_t id, struct timespec *t)
{
	(void)id;
	clock_ns += 200000;
	*t = (struct timespec){ (time_t)(clock_ns / 1000000000u), (long)(clock_ns % 1000000000u) };
	return 0;
}

/* ---- the backend ---- */

struct handle {
	struct mqshm_mapping base;
	bool open;
};

static struct handle handles[PRODUCERS + CONSUMERS];
static uint32_t owner = 1;

static void end_role(uint32_t i, uint32_t state)
{
	uint32_t word = ring.participants[i].state, slot = i - ring.max_producers;

	ring.participants[i].state = (word & ~0xffu) | state;
	if (i >= ring.max_producers)
		ring.info->reliable[slot / 64] &= ~(1ull << slot % 64);
	else
		mqshm_settle_producers(&ring, MQSHM_EPOCH_CRASHED);
	ring.info->epoch++;
}

static int fake_attach(const struct mqshm_attach *how, struct mqshm_mapping **out, struct mqshm_writer *writer,
		       struct mqshm_reader *reader)
{
	uint32_t first = how->role == MQSHM_ROLE_CONSUMER ? ring.max_producers : 0;
	uint32_t most = how->role == MQSHM_ROLE_CONSUMER ? ring.max_consumers : ring.max_producers;
	uint32_t kept = how->role == MQSHM_ROLE_CONSUMER ? CONSUMERS : PRODUCERS, i;
	struct handle *h = handles + (how->role == MQSHM_ROLE_CONSUMER ? PRODUCERS : 0);
	int rc;

	for (i = 0; i < most && i < kept && h->open; i++)
		h++;
	if (i == most || i == kept)
		return mqshm_error(-EBUSY, "no place");
	i += first;
	ring.participants[i].state = ((ring.participants[i].state >> 8) + 1) << 8 | MQSHM_SLOT_JOINING;
	ring.participants[i].pid = 1;
	h->base = (struct mqshm_mapping){ .backend = &mqshm_backend_posix, .ring = ring, .role = how->role,
					  .participant = i, .owner = &owner, .name = "fuzz" };
	h->base.state = (ring.participants[i].state & ~0xffu) | MQSHM_SLOT_LIVE;
	if (how->role == MQSHM_ROLE_CONSUMER) {
		reader->ring = &h->base.ring;
		reader->slot = i - first;
		reader->lossy = how->flags & MQSHM_LOSSY || ring.flags & MQSHM_OVERWRITE;
		rc = reader_join(reader, how->start, !reader->lossy && READ_ONCE(ring.info->hold));
		ring.info->consumers_ever++;
	} else {
		writer->ring = &h->base.ring;
		rc = ring.max_producers == 1 ? writer_take_over(writer) : 0;
		if (!rc) {
			ring.participants[i].state = h->base.state;
			ring.info->producer_epoch =
				((ring.info->producer_epoch & ~3ull) + MQSHM_EPOCH_ONE) | MQSHM_EPOCH_ACTIVE;
		}
	}
	if (rc) {
		end_role(i, MQSHM_SLOT_FREE);
		return mqshm_error(rc, "positions");
	}
	h->open = true;
	*out = &h->base;
	return 0;
}

static int fake_detach(struct mqshm_mapping *m, uint32_t how)
{
	(void)how;
	if (ring.participants[m->participant].state == m->state)
		end_role(m->participant, MQSHM_SLOT_FREE);
	((struct handle *)m)->open = false;
	return 0;
}

static int fake_sleep(struct mqshm_mapping *m, uint32_t *word, uint32_t value, uint64_t ns)
{
	(void)m;
	if (++sleeps > SLEEPS_MOST)
		red("it sleeps on and on");
	if (__atomic_load_n(word, __ATOMIC_RELAXED) == value)
		clock_ns += ns;
	return 0;
}

static void fake_wake(struct mqshm_mapping *m, uint32_t *word)
{
	(void)m;
	(void)word;
}

static int fake_check(struct mqshm_mapping *m, uint32_t i)
{
	if (i >= ring.max_producers + ring.max_consumers)
		red("is participant %u alive?", i);
	if (i == m->participant)
		return 1;
	for (int h = 0; h < PRODUCERS + CONSUMERS; h++)
		if (handles[h].open && handles[h].base.participant == i && ring.participants[i].state == handles[h].base.state)
			return 1;
	end_role(i, MQSHM_SLOT_ENDED);
	return 0;
}

static bool fake_evict(struct mqshm_mapping *m, uint32_t i, uint32_t word, uint32_t why)
{
	(void)m;
	(void)word;
	(void)why;
	if (i >= ring.max_producers + ring.max_consumers)
		red("participant %u is evicted", i);
	end_role(i, MQSHM_SLOT_ENDED);
	return true;
}

static bool fake_demote(struct mqshm_mapping *m, uint32_t i, uint32_t word, uint32_t why)
{
	(void)m;
	(void)word;
	(void)why;
	if (i < ring.max_producers || i >= ring.max_producers + ring.max_consumers)
		red("participant %u is demoted", i);
	i -= ring.max_producers;
	ring_consumer(&ring, i)->state = (ring_consumer(&ring, i)->state & ~0xffu) | MQSHM_SLOT_DEMOTED;
	ring.info->reliable[i / 64] &= ~(1ULL << i % 64);
	return true;
}

static int fake_check_self(struct mqshm_mapping *m)
{
	return READ_ONCE(ring.participants[m->participant].state) == m->state ? 0 : mqshm_error(-ESTALE, "lost");
}

const struct mqshm_backend mqshm_backend_posix = {
	.name = "fuzz", .attach = fake_attach, .detach = fake_detach, .sleep = fake_sleep, .wake = fake_wake,
	.check = fake_check, .evict = fake_evict, .demote = fake_demote, .check_self = fake_check_self,
};

static int no_module(bool say)
{
	(void)say;
	return -ENODEV;
}

const struct mqshm_backend mqshm_backend_kernel = { .name = "kernel", .probe = no_module };

/* ---- stat over the same image: fuzz_stat.c ---- */

int fuzz_stat(const void *image, size_t size, uint64_t file_bytes, struct mqshm_stat **out);

static void stat_it(void)
{
	unsigned char *image = malloc(plan.nodes_offset);
	struct mqshm_stat *s = NULL;
	int rc;

	if (!image)
		abort();
	memset(image, 0, plan.nodes_offset);
	memcpy(image, ring.info, sizeof *ring.info);
	memcpy(image + plan.participants_offset, ring.participants,
	       (plan.max_producers + plan.max_consumers) * sizeof *ring.participants);
	memcpy(image + plan.producer_offset, ring.producer, sizeof *ring.producer);
	memcpy(image + plan.consumers_offset, ring.consumers, plan.max_consumers * plan.consumer_stride);
	rc = fuzz_stat(image, plan.nodes_offset, plan.total_bytes, &s);
	if (rc != 0 && rc != -EBADMSG && rc != -EPROTONOSUPPORT)
		red("%d", rc);
	if (!rc && (s->metadata_size > MQSHM_METADATA_MAX || s->producer_count > s->max_producers ||
		    s->consumer_count > s->max_consumers || s->kept > s->node_count))
		red("it gives what can't be");
	for (uint32_t i = 0; !rc && i < s->consumer_count; i++)
		if (!memchr(s->consumers[i].comm, 0, sizeof s->consumers[i].comm) || s->consumers[i].lag > s->total_pushed)
			red("it gives a consumer that can't be");
	mqshm_stat_free(s);
	free(image);
}

/* ---- steps ---- */

static int judge(long long rc, const int *documented)
{
	loads = sleeps = 0;
	if (rc >= 0)
		return (int)rc;
	if (rc != -EAGAIN && !*mqshm_last_error())
		red("%lld without a sentence", rc);
	for (; *documented != rc; documented++)
		if (!*documented)
			red("%lld (%s) is not documented", rc, mqshm_last_error());
	return (int)rc;
}
#define JUDGE(call, ...) (step = #call, mqshm_say("%s", ""), judge(call, (const int[]){ __VA_ARGS__, 0 }))
#define PUSHING -EAGAIN, -ETIMEDOUT, -EMSGSIZE, -ESTALE, -EBADMSG, -EOVERFLOW, -EDEADLK
#define READING -EAGAIN, -ETIMEDOUT, -EMSGSIZE, -ESHUTDOWN, -EOWNERDEAD, -ESTALE, -EBADMSG, -ECONNABORTED

static void push_step(struct mqshm_producer *p, unsigned kind)
{
	static const unsigned char data[256];
	size_t size = input_8(&in) % (plan.block_size + 2 < sizeof data ? plan.block_size + 2 : sizeof data);
	int timeout_ms = kind & 8 ? 30 : 0;
	struct iovec pieces[4] = { { (void *)(uintptr_t)data, size }, { (void *)(uintptr_t)data, size / 2 },
				   { NULL, 0 }, { (void *)(uintptr_t)data, size / 3 } };
	void *room = NULL;
	int rc;

	switch (kind % 8) {
	case 0:
		JUDGE(mqshm_producer_pushv(p, pieces, 2, timeout_ms), PUSHING);
		break;
	case 1:
		rc = JUDGE(mqshm_producer_push_batch(p, pieces, 4, timeout_ms), PUSHING);
		if (rc == 0 || rc > 4)
			red("%d", rc);
		break;
	case 2:
		rc = JUDGE(mqshm_producer_reserve(p, size, &room, timeout_ms), PUSHING);
		if (rc < 0)
			break;
		memset(room, 1, size);
		JUDGE(mqshm_producer_commit(p, size / 2), -ESTALE);
		break;
	case 3:
		rc = JUDGE(mqshm_producer_reserve(p, size, &room, timeout_ms), PUSHING);
		if (rc < 0)
			break;
		memset(room, 1, size);
		JUDGE(mqshm_producer_abort(p), -EINVAL);
		break;
	case 4:
		JUDGE(mqshm_producer_wait_consumers(p, (unsigned)size % 4, size & 4 ? MQSHM_EVER : 0, timeout_ms), -EAGAIN,
		      -ETIMEDOUT, -ESTALE);
		break;
	case 5:
		JUDGE(mqshm_producer_wait_drained(p, timeout_ms), -EAGAIN, -ETIMEDOUT, -ESTALE);
		break;
	default:
		JUDGE(mqshm_producer_push(p, data, size, timeout_ms), PUSHING);
	}
}

static void use(const struct mqshm_message *m)
{
	const unsigned char *data = m->data;
	unsigned sum = 0;

	if (m->size > plan.block_size)
		red("a message of %zu bytes", m->size);
	for (size_t i = 0; i < m->size; i++)
		sum += data[i];
	__asm__ __volatile__("" ::"r"(sum));
}

static void pop_step(struct mqshm_consumer *c, unsigned kind)
{
	size_t capacity = kind & 16 ? plan.block_size / 2 : plan.block_size, max = 1 + input_8(&in) % 6;
	int timeout_ms = kind & 8 ? 30 : 0, rc, left;
	unsigned char *buffer = malloc(capacity ? capacity : 1);
	struct mqshm_message m[6] = { { .size = SIZE_MAX } };
	struct mqshm_queue_info info;

	if (!buffer)
		abort();
	switch (kind % 8) {
	case 0:
	case 1:
		rc = JUDGE(mqshm_consumer_pop_batch(c, m, kind & 32 ? max : 1, max, buffer, capacity, timeout_ms), READING,
			   -EINVAL);
		if (rc == 0 || rc > (int)max)
			red("%d", rc);
		for (int i = 0; i < rc; i++)
			use(&m[i]);
		break;
	case 2:
	case 3:
		rc = JUDGE(mqshm_consumer_peek(c, m, max, timeout_ms), READING);
		if (rc == 0 || rc > (int)max)
			red("%d", rc);
		for (int i = 0; i < rc; i++)
			use(&m[i]);
		for (left = rc; left > 0; left--)
			if (JUDGE(mqshm_consumer_release(c, kind & 16 ? (size_t)left : 1), -ESTALE, -EBADMSG, -ECONNABORTED,
				  -EINVAL) < 0)
				break;
		break;
	case 4:
		step = "lag";
		if (mqshm_consumer_lag(c) < 0 || mqshm_consumer_missed(c) < 0 || mqshm_consumer_info(c, &info) < 0)
			red("lag %lld, missed %lld", (long long)mqshm_consumer_lag(c), (long long)mqshm_consumer_missed(c));
		break;
	default:
		rc = JUDGE(mqshm_consumer_pop(c, buffer, capacity, m, timeout_ms), READING);
		if (rc >= 0 && (m[0].size != (size_t)rc || m[0].data != buffer))
			red("%d and a message of %zu", rc, m[0].size);
		if (rc >= 0)
			use(m);
	}
	free(buffer);
}

/* At once, or before some load. What is written may depend on what is there and on the geometry. */
static void edit_step(bool later)
{
	struct region *r = &regions[input_8(&in) % 5];
	size_t size = input_8(&in) % 2 ? 8 : 4, at = input_16(&in) % (r->size / size) * size;
	uint64_t now = 0;
	struct edit e = { .at = r->at + at, .size = size };

	memcpy(&now, e.at, size);
	e.value = input_value(&in, now, &plan);
	if (!later) {
		apply(&e);
		return;
	}
	e.countdown = 1 + input_8(&in);
	for (int i = 0; i < PENDING; i++)
		if (!pending[i].countdown) {
			pending[i] = e;
			return;
		}
}

static void open_step(unsigned kind)
{
	struct mqshm_producer_options o = { .size = sizeof o, .spin_us = kind & 4 ? 1 : -1 };
	struct mqshm_consumer_options co = { .size = sizeof co, .spin_us = kind & 4 ? 1 : -1, .start = (int32_t)(kind >> 3) % 3,
					     .flags = kind & 64 ? MQSHM_LOSSY : 0 };
	unsigned i = kind % 2;

	if (kind & 2) {
		if (producers[i]) {
			JUDGE(kind & 64 ? mqshm_producer_fail(producers[i]) : mqshm_producer_close(producers[i]), 0);
			producers[i] = NULL;
		}
		JUDGE(mqshm_producer_open(&producers[i], "fuzz", NULL, &o), -EBUSY, -EBADMSG);
		return;
	}
	i = (kind & 1) + (kind >> 7);
	if (consumers[i]) {
		JUDGE(mqshm_consumer_close(consumers[i]), 0);
		consumers[i] = NULL;
	}
	JUDGE(mqshm_consumer_open(&consumers[i], "fuzz", NULL, &co), -EBUSY, -EBADMSG);
}

/* ---- one input ---- */

static void *exactly(struct region *r, size_t size)
{
	r->at = calloc(1, size);
	r->size = size;
	if (!r->at)
		abort();
	return r->at;
}

/* A geometry as planned, then perhaps damaged: what passes the check must be safe to use. False: it does not pass. */
static bool set_up(void)
{
	static const uint32_t aligns[] = { 8, 16, 32, 64 };
	unsigned kind = input_8(&in), damage = input_8(&in) % 8;
	struct mqshm_queue_options o = { .size = sizeof o, .node_count = 1 + input_8(&in) % 40,
					 .block_size = 1 + input_8(&in), .max_consumers = 1 + input_8(&in) % 66,
					 .align = aligns[kind % 4],
					 .flags = (kind & 4 ? MQSHM_SHARED : 0) | (kind & 8 ? MQSHM_OVERWRITE : 0) |
						  ((kind & 24) == 16 ? MQSHM_HOLD : 0) };

	mqshm_test_base_position = kind & 32 ? MQSHM_POSITION_MAX - 4096 : 0;
	if (mqshm_plan(&plan, "fuzz", &o, kind & 64 ? 4096 : MQSHM_LINE))
		return false;
	for (unsigned i = 0; i < damage; i++) {
		size_t size = input_8(&in) % 2 ? 8 : 4, at = input_8(&in) % (128 / size) * size;
		uint64_t now = 0;

		memcpy(&now, (char *)&plan + at, size);
		now = input_value(&in, now, &plan);
		memcpy((char *)&plan + at, &now, size);
	}
	step = "check_info";
	if (mqshm_check_info(&plan, "fuzz", plan.total_bytes) || plan.total_bytes > BYTES_MOST)
		return false;
	if (plan.total_bytes - plan.nodes_offset < plan.ring_bytes ||
	    plan.nodes_offset - plan.consumers_offset < (uint64_t)plan.max_consumers * plan.consumer_stride ||
	    plan.consumers_offset - plan.producer_offset < sizeof(struct mqshm_producer_page))
		red("a geometry passes that is none");
	mqshm_ring_init(&ring, &plan, &plan); /* its addresses follow */
	ring.info = exactly(&regions[0], sizeof *ring.info);
	ring.participants = exactly(&regions[1], (plan.max_producers + plan.max_consumers) * sizeof *ring.participants);
	ring.producer = exactly(&regions[2], sizeof *ring.producer);
	ring.consumers = exactly(&regions[3], plan.max_consumers * plan.consumer_stride);
	ring.nodes = exactly(&regions[4], plan.ring_bytes);
	*ring.info = plan;
	ring.producer->tail = ring.producer->head = ring.producer->record[0].end = plan.base_position;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	in = (struct input){ data, size };
	loads = sleeps = 0;
	clock_ns = 1000000000000;
	if (set_up()) {
		open_step(2);
		open_step(8);
		while (in.left) {
			unsigned what = input_8(&in);

			if (what < 70 && producers[what % PRODUCERS])
				push_step(producers[what % PRODUCERS], input_8(&in));
			else if (what < 140 && consumers[what % CONSUMERS])
				pop_step(consumers[what % CONSUMERS], input_8(&in));
			else if (what < 170)
				open_step(input_8(&in));
			else if (what < 245)
				edit_step(what & 1);
			else
				step = "stat", stat_it();
		}
		memset(pending, 0, sizeof pending);
		for (int i = 0; i < PRODUCERS; i++)
			JUDGE(mqshm_producer_close(producers[i]), 0);
		for (int i = 0; i < CONSUMERS; i++)
			JUDGE(mqshm_consumer_close(consumers[i]), 0);
	}
	memset(producers, 0, sizeof producers);
	memset(consumers, 0, sizeof consumers);
	for (int i = 0; i < 5; i++)
		free(regions[i].at);
	memset(regions, 0, sizeof regions);
	return 0;
}
