/* SPDX-License-Identifier: MIT */
/* Random numbers, and the notes about roles; see world.h. */
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

struct world *world;
int world_fd = -1;

uint64_t draw(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 2685821657736338717u;
}

uint64_t below(uint64_t *state, uint64_t limit)
{
	return (draw(state) >> 16) % limit;
}

bool chance(uint64_t *state, unsigned percent)
{
	return below(state, 100) < percent;
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void nap_us(unsigned us)
{
	nanosleep(&(struct timespec){ us / 1000000, (long)(us % 1000000) * 1000 }, NULL);
}

struct role *role_new(uint32_t worker, uint32_t handle, uint32_t name, bool producer, bool lossy)
{
	uint32_t i = ADD(world->role_count, 1);
	struct role *role;

	if (i >= ROLES_MOST) {
		SET(world->role_count, ROLES_MOST);
		return NULL;
	}
	role = &world->role[i];
	role->name = name;
	role->worker = worker;
	role->producer = producer;
	role->lossy = lossy;
	role->forced = GET(world->name[name].forced_done);
	role->slot = -1;
	SET(role->state, ROLE_OPENING); /* before this the entry is VOID and nobody's */
	SET(world->worker[worker].handle_role[handle], i + 1);
	return role;
}

uint32_t role_index(const struct role *role)
{
	return (uint32_t)(role - world->role);
}

bool role_is_final(const struct role *role)
{
	uint32_t state = GET(role->state);

	return state == ROLE_VOID || state == ROLE_GONE || state == ROLE_DEAD;
}

bool role_is_alive(const struct role *role)
{
	return GET(role->state) == ROLE_OPEN && !GET(world->worker[role->worker].dying);
}

void roles_die(uint32_t worker)
{
	struct worker_notes *notes = &world->worker[worker];

	for (int h = 0; h < HANDLES; h++) {
		struct role *role = notes->handle_role[h] ? &world->role[notes->handle_role[h] - 1] : NULL;

		if (role && !role_is_final(role)) {
			role->was = GET(role->state);
			SET(role->state, ROLE_DEAD);
		}
		notes->handle_role[h] = 0;
	}
}

void violation(const char *format, ...)
{
	va_list arguments;

	if (ADD(world->violated, 1) == 0) {
		char *end = world->violation + sizeof world->violation;
		char *at = world->violation;
		const struct worker_notes *me = NULL;

		for (uint32_t i = 0; i < world->workers; i++)
			if (world->worker[i].pid == getpid())
				me = &world->worker[i];
		if (me)
			at += snprintf(at, (size_t)(end - at), "worker %u.%u in %s: ", (uint32_t)(me - world->worker),
				       me->incarnation, me->what);
		va_start(arguments, format);
		vsnprintf(at, (size_t)(end - at), format, arguments);
		va_end(arguments);
		__atomic_store_n(&world->violated, 2, __ATOMIC_RELEASE);
	}
	_exit(3);
}
