/* SPDX-License-Identifier: MIT */
/* Who waits for what, when something has gone wrong: each process with its call and its kernel stack, each queue. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "world.h"

static void show_file(FILE *to, pid_t pid, const char *what)
{
	char path[64], line[256];
	int lines = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
	f = fopen(path, "re");
	if (!f)
		return;
	while (lines++ < 6 && fgets(line, sizeof line, f))
		fprintf(to, "#      %s: %s%s", what, line, strchr(line, '\n') ? "" : "\n");
	fclose(f);
}

static void show_role(FILE *to, uint32_t i)
{
	static const char *const states[] = { "void", "opening", "open", "leaving", "gone", "dead" };
	const struct role *r = &world->role[i];

	fprintf(to, "#      role %u: worker %u, %s%s of %s, instance %u, %s", i, r->worker, r->lossy ? "lossy " : "",
		r->producer ? "producer" : "consumer", world->name[r->name].text, r->instance, states[r->state % 6]);
	if (r->producer)
		fprintf(to, ", %" PRIu64 " begun, %" PRIu64 " pushed\n", r->begun, r->acked);
	else
		fprintf(to, ", slot %d, next %" PRIu64 "%s, missed %" PRIu64 "\n", r->slot, r->next, r->known ? "" : " (?)",
			r->missed);
}

static void show_worker(FILE *to, uint32_t i)
{
	const struct worker_notes *w = &world->worker[i];
	const char *why = excuse(w);

	fprintf(to, "#  worker %u.%u pid %d:%s%s %s%s%s%s\n", i, w->incarnation, (int)w->pid, w->dying ? " dying" : "",
		w->parked ? " parked" : "", w->what, w->waiting ? ", without limit" : "", w->waiting && why ? ": " : "",
		w->waiting && why ? why : "");
	show_file(to, w->pid, "wchan");
	show_file(to, w->pid, "syscall");
	show_file(to, w->pid, "stack");
	for (int h = 0; h < HANDLES; h++)
		if (w->handle_role[h])
			fprintf(to, "#      has role %u\n", w->handle_role[h] - 1);
}

void dump(FILE *to)
{
	char command[512], line[4096];

	for (uint32_t i = 0; i < world->workers; i++)
		show_worker(to, i);
	for (uint32_t i = 0; i < world->names; i++) {
		const struct mqshm_queue_options *o = &world->name[i].options;
		FILE *f;

		fprintf(to, "#  queue %s: nodes %u block %u flags 0x%x, removals by force %" PRIu64 "\n", world->name[i].text,
			o->node_count, o->block_size, o->flags, world->name[i].forced_begun);
		snprintf(command, sizeof command, "'%s' stat --json '%s' 2>&1", world->tool, world->name[i].text);
		for (uint32_t k = 0; k < world->role_count; k++)
			if (world->role[k].name == i && world->role[k].state)
				show_role(to, k);
		f = world->tool[0] ? popen(command, "re") : NULL;
		while (f && fgets(line, sizeof line, f))
			fprintf(to, "#      %s", line);
		if (f)
			pclose(f);
	}
	(void)fflush(to);
}
