/* SPDX-License-Identifier: MIT */
/* One process of the torture: draws operations by the weights of its character until it is told to stop. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "world.h"

static struct worker_notes *notes;

static void interrupted(int signal)
{
	(void)signal;
	ADD(notes->interrupts, 1);
}

static int count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	MUST(directory, "/proc/self/fd: %s", strerror(errno));
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* With no handle open, no descriptor and no mapping of a queue may be left. */
void look_for_leaks(struct worker *w)
{
	int descriptors = count_descriptors();
	char line[512];
	FILE *maps;

	for (int i = 0; i < HANDLES; i++)
		if (w->handle[i].role)
			return;
	MUST(descriptors == w->descriptors, "%d descriptors are open, %d were at the start", descriptors, w->descriptors);
	maps = fopen("/proc/self/maps", "re");
	MUST(maps, "/proc/self/maps: %s", strerror(errno));
	while (fgets(line, sizeof line, maps))
		MUST(!strstr(line, "/dev/shm/") && !strstr(line, "mqshm."), "a mapping is left: %s", line);
	fclose(maps);
}

static void run_one(struct worker *w)
{
	unsigned sum = 0, at;

	for (unsigned i = 0; i < operation_count; i++)
		sum += operations[i].weight[notes->character];
	at = (unsigned)below(&w->random, sum);
	for (unsigned i = 0; i < operation_count; i++) {
		unsigned weight = operations[i].weight[notes->character];

		if (at < weight) {
			run_operation(w, i);
			return;
		}
		at -= weight;
	}
}

/* Take what is left of a stream until it ends. Nobody pushes any more, so it does, unless it never began. */
static void drain(struct worker *w, struct handle *h)
{
	const char *why = "";
	int rc = 0;

	for (int waits = 0; waits < 200; waits++) {
		do
			rc = pop_some(w, h, 50);
		while (rc == 0);
		if (rc != -ETIMEDOUT && rc != -EINTR)
			return;
		notes->wait_role = role_index(h->role) + 1;
		notes->wait_least = 1;
		notes->waiting = FOR_MESSAGES;
		why = excuse(notes);
		notes->waiting = NOT_WAITING;
		if (why && strcmp(why, "a producer lives"))
			return;
	}
	violation("no end of stream in instance %u: %d, %s", h->role->instance, rc, why ? why : "all its producers are gone");
}

/* Some of each there are always. */
static uint32_t draw_character(uint32_t index, uint64_t random)
{
	switch (world->style) {
	case STORM:
		return index < 1 ? BURSTER : VISITOR;
	case FLASHES:
		return index < 2 ? FLASHER : CONSUMER;
	default:
		return index < 3 ? index : (uint32_t)random;
	}
}

void worker_run(uint32_t index, char *self, bool after_exec)
{
	struct sigaction action = { .sa_handler = interrupted };
	struct worker w = { .index = index, .self = self };
	sigset_t usr1;

	notes = w.notes = &world->worker[index];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != world->supervisor)
		_exit(1);
	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_UNBLOCK, &usr1, NULL);
	signal(SIGCHLD, SIG_IGN); /* children are reaped by themselves */
	if (after_exec) {
		roles_die(index);
		notes->incarnation++;
		SET(notes->dying, 0);
		w.random = notes->random;
	} else {
		w.random = world->round_seed ^ (((uint64_t)index + 1) << 32 | (notes->incarnation + 1)) * 0x9e3779b97f4a7c15u;
		notes->character = draw_character(index, below(&w.random, 4));
	}
	if (notes->removing) {
		ADD(world->name[notes->removing - 1].forced_done, 1);
		notes->removing = 0;
	}
	w.random |= 1;
	notes->spare_instance = 0;
	notes->waiting = NOT_WAITING;
	w.descriptors = count_descriptors();
	for (uint32_t phase = RUN;;) {
		phase = GET(world->phase);
		if (phase == END)
			break;
		if (phase == RUN) {
			run_one(&w);
			continue;
		}
		SET(notes->parked, 1);
		nap_us(500);
	}
	SET(notes->parked, 0);
	for (int i = 0; i < HANDLES; i++)
		if (w.handle[i].producer)
			close_handle(&w, &w.handle[i], chance(&w.random, 70) ? BY_CLOSE : BY_FAIL);
	for (int i = 0; i < HANDLES; i++)
		if (w.handle[i].consumer) {
			drain(&w, &w.handle[i]);
			close_handle(&w, &w.handle[i], BY_CLOSE);
		}
	look_for_leaks(&w);
	SET(notes->exited, 1);
	_exit(0);
}
