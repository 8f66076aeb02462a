/* SPDX-License-Identifier: MIT */
/*
 * The baseline of mqshm bench, "mutex ring": what one writes first. 1,024 fixed slots in POSIX shared memory, one
 * process-shared mutex and two condition variables, copies in and out under the mutex, one cursor a consumer; the
 * producer waits for the slowest; a broadcast at each push and each pop. Correct as long as nobody dies.
 *
 * The broadcast is made under the mutex, as POSIX advises for predictable scheduling and as it is mostly written.
 * "mutex-ring-late" makes it after the unlock: who is woken then does not run into the mutex, which on few processors
 * and with many consumers is up to twice as fast.
 */
#include "bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct bench_mutex_ring {
	pthread_mutex_t mutex;
	pthread_cond_t data, room;
	size_t length; /* of the mapping */
	size_t stride; /* of a slot */
	unsigned consumers;
	bool late; /* broadcast after the unlock */
	uint64_t tail; /* messages pushed */
	uint64_t cursors[BENCH_CONSUMERS_MAX];
	_Alignas(64) unsigned char slots[];
};

struct slot {
	size_t size;
	unsigned char payload[];
};

/* Mapped before the fork, so the name is gone at once. */
struct bench_mutex_ring *bench_mutex_ring_map(unsigned size, unsigned consumers, bool late)
{
	size_t stride = (sizeof(struct slot) + size + 7) / 8 * 8;
	size_t length = sizeof(struct bench_mutex_ring) + BENCH_NODES * stride;
	struct bench_mutex_ring *ring = MAP_FAILED;
	pthread_mutexattr_t mutex;
	pthread_condattr_t cond;
	char name[40];
	int fd;

	snprintf(name, sizeof(name), "/mutex-ring-bench-%d", (int)getpid());
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return NULL;
	shm_unlink(name);
	if (posix_fallocate(fd, 0, (off_t)length) == 0)
		ring = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	close(fd);
	if (ring == MAP_FAILED)
		return NULL;
	ring->length = length;
	ring->stride = stride;
	ring->consumers = consumers;
	ring->late = late;
	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&ring->mutex, &mutex);
	pthread_condattr_init(&cond);
	pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&ring->data, &cond);
	pthread_cond_init(&ring->room, &cond);
	return ring;
}

void bench_mutex_ring_unmap(struct bench_mutex_ring *ring)
{
	if (ring)
		munmap(ring, ring->length);
}

static struct slot *slot_of(struct bench_mutex_ring *ring, uint64_t sequence)
{
	return (struct slot *)(ring->slots + sequence % BENCH_NODES * ring->stride);
}

static uint64_t slowest(const struct bench_mutex_ring *ring)
{
	uint64_t least = ring->cursors[0];

	for (unsigned i = 1; i < ring->consumers; i++)
		if (ring->cursors[i] < least)
			least = ring->cursors[i];
	return least;
}

static void unlock_and_tell(struct bench_mutex_ring *ring, pthread_cond_t *whom)
{
	if (!ring->late)
		pthread_cond_broadcast(whom);
	pthread_mutex_unlock(&ring->mutex);
	if (ring->late)
		pthread_cond_broadcast(whom);
}

static void push(struct bench_mutex_ring *ring, const void *data, size_t size)
{
	struct slot *slot;

	pthread_mutex_lock(&ring->mutex);
	while (ring->tail - slowest(ring) == BENCH_NODES)
		pthread_cond_wait(&ring->room, &ring->mutex);
	slot = slot_of(ring, ring->tail);
	slot->size = size;
	memcpy(slot->payload, data, size);
	ring->tail++;
	unlock_and_tell(ring, &ring->data);
}

static size_t pop(struct bench_mutex_ring *ring, unsigned consumer, void *buffer)
{
	struct slot *slot;
	size_t size;

	pthread_mutex_lock(&ring->mutex);
	while (ring->cursors[consumer] == ring->tail)
		pthread_cond_wait(&ring->data, &ring->mutex);
	slot = slot_of(ring, ring->cursors[consumer]);
	size = slot->size;
	memcpy(buffer, slot->payload, size);
	ring->cursors[consumer]++;
	unlock_and_tell(ring, &ring->room);
	return size;
}

/* The same source, buffer and check as in queue.c. */
static void push_some(struct bench_env *env, struct bench_source *source, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		push(env->ring, bench_source_next(source), source->size);
}

static void pop_some(struct bench_env *env, void *buffer, uint64_t from, uint64_t count)
{
	for (uint64_t i = from; i < from + count; i++)
		if (pop(env->ring, env->index - 1, buffer) != env->what->size ||
		    !bench_payload_check(buffer, env->what->size, i))
			bench_fail(env, "mutex ring: message %llu is wrong", (unsigned long long)i);
}

/* There and back: process 0 asks, process 1 answers, the others only listen. */
static void rounds(struct bench_env *env, struct bench_source *source, void *buffer, uint64_t from, uint64_t count,
		   struct bench_histogram *times)
{
	uint64_t last = 0, now;

	for (uint64_t i = from; i < from + count; i++) {
		if (env->index == 0) {
			push(env->ring, bench_source_next(source), source->size);
			if (times) {
				now = bench_now_ns();
				if (last)
					bench_histogram_add(times, now - last);
				last = now;
			}
			pop(env->back, 0, buffer);
		} else {
			pop(env->ring, env->index - 1, buffer);
			if (env->index == 1)
				push(env->back, bench_source_next(source), source->size);
		}
		if (!bench_payload_check(buffer, env->what->size, i))
			bench_fail(env, "mutex ring: message %llu is wrong", (unsigned long long)i);
	}
}

void bench_mutex_ring_body(struct bench_env *env)
{
	static _Alignas(64) unsigned char buffer[BENCH_SIZE_MAX];
	struct bench_source source;

	memset(buffer, 0, sizeof(buffer));
	if (bench_source_init(&source, env->what->size, 1) < 0)
		bench_fail(env, "no memory");
	for (int warm = 1; warm >= 0; warm--) {
		uint64_t from = warm ? 0 : env->warm, count = warm ? env->warm : env->count;

		if (!warm)
			bench_barrier(env);
		if (env->what->kind == BENCH_LATENCY)
			rounds(env, &source, buffer, from, count, warm ? NULL : &env->shared->histogram);
		else if (env->index == 0)
			push_some(env, &source, count);
		else
			pop_some(env, buffer, from, count);
	}
	bench_finish(env);
}
