/* SPDX-License-Identifier: MIT */
/* The list of labels, read from the section the test build left them in, and what happens at a step. */
#include "step.h"
#undef kill
#undef syscall

#include "mqshm/abi.h"
#include "world.h"

extern struct mqshm_label __start_mqshm_steps[], __stop_mqshm_steps[];

#define NO_ID UINT32_MAX

static struct mqshm_label *first[POINTS_MAX]; /* of each id, in order */
static uint32_t labels;
static struct control *control; /* NULL: this process is no victim */
uint32_t points;

static int by_text(const void *a, const void *b)
{
	const struct mqshm_label *x = *(struct mqshm_label *const *)a, *y = *(struct mqshm_label *const *)b;
	int rc = strcmp(x->function, y->function);

	rc = rc ? rc : strcmp(x->what, y->what);
	return rc ? rc : (x->line > y->line) - (x->line < y->line);
}

/*
 * What lies above the queues has only memory of its own, see labels.py: what it does to a queue it does through the
 * functions whose steps are here.
 */
static bool is_above(const struct mqshm_label *l)
{
	static const char *const files[] = { "lib/log.c", "lib/stage.c", "lib/stage_run.c" };

	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (!strcmp(l->file, files[i]))
			return true;
	return false;
}

/* An inline function of a header leaves its labels once in each file: they are one. */
int labels_read(void)
{
	size_t labelled = (size_t)(__stop_mqshm_steps - __start_mqshm_steps), count = 0;
	struct mqshm_label **all = calloc(labelled, sizeof *all);

	for (size_t i = 0; i < labelled; i++) {
		__start_mqshm_steps[i].id = NO_ID;
		if (!is_above(&__start_mqshm_steps[i]))
			all[count++] = &__start_mqshm_steps[i];
	}
	qsort(all, count, sizeof *all, by_text);
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || by_text(&all[i - 1], &all[i]))
			first[labels++] = all[i];
		all[i]->id = labels - 1;
	}
	free(all);
	points = labels * STEP_SIDES * STEP_DETAILS;
	if (points > POINTS_MAX)
		abort();
	return (int)labels;
}

const char *point_file(uint32_t point)
{
	return first[point / (STEP_SIDES * STEP_DETAILS)]->file;
}

const char *point_name(uint32_t point, char buffer[300])
{
	static const char *const sides[] = { "before", "amid", "after" };
	static const char *const lock_details[] = { "", ", all locks", ", life cycle", ", repair", ", owner" };
	static const char *const futex_details[] = { "", ", wait", ", wake" };
	uint32_t id = point / (STEP_SIDES * STEP_DETAILS), detail = point % STEP_DETAILS, number = 0;
	const struct mqshm_label *l = first[id];

	for (uint32_t i = id; i > 0 && !strcmp(first[i - 1]->function, l->function) && !strcmp(first[i - 1]->what, l->what); i--)
		number++;
	snprintf(buffer, 300, "%s: %s", l->function, l->what + (strncmp(l->what, "*&", 2) ? 0 : 2));
	if (number)
		snprintf(buffer + strlen(buffer), 20, " #%u", number + 1);
	snprintf(buffer + strlen(buffer), 40, "%s | %s",
		 !strncmp(l->what, "syscall", 7) ? futex_details[detail] : lock_details[detail],
		 sides[point / STEP_DETAILS % STEP_SIDES]);
	return buffer;
}

uint32_t point_find(const char *name)
{
	char buffer[300];

	for (uint32_t p = 0; p < points; p++)
		if (!strcmp(point_name(p, buffer), name))
			return p;
	fprintf(stderr, "there is no step '%s'\n", name);
	abort();
}

/* Details show only at run time; where a label has them, those that were seen must be hit. */
bool point_static(uint32_t point)
{
	const struct mqshm_label *l = first[point / (STEP_SIDES * STEP_DETAILS)];
	uint32_t side = point / STEP_DETAILS % STEP_SIDES;

	if (side == STEP_AMID && strncmp(l->what, "copy to", 7))
		return false;
	return point % STEP_DETAILS == (!strncmp(l->what, "syscall", 7) ? 1 : 0) &&
	       (strncmp(l->what, "fcntl", 5) || strstr(l->what, "DUPFD"));
}

unsigned mqshm_step_lock(const struct flock *lock)
{
	if (!lock)
		return 0;
	if (lock->l_len == 0)
		return 1;
	if (lock->l_start == MQSHM_LOCK_LIFECYCLE)
		return 2;
	return lock->l_start < MQSHM_LOCK_OWNER(0, 0) ? 3 : 4;
}

void steps_arm(struct control *c)
{
	control = c;
	c->armed = 1;
}

void steps_disarm(void)
{
	control = NULL;
}

/* This thread, at once; the others with it. */
static void stop_or_die(int action)
{
	syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), action);
}

void mqshm_step(const struct mqshm_label *label, unsigned side, unsigned detail)
{
	struct control *c = control;
	uint32_t point;
	int saved = errno;

	if (!c || c->hit || label->id == NO_ID)
		return;
	point = (label->id * STEP_SIDES + side) * STEP_DETAILS + detail;
	if (c->pause == point + 1) {
		c->pause = 0;
		stop_or_die(SIGSTOP);
	}
	c->counts[point] = (uint16_t)(c->counts[point] + (c->counts[point] < UINT16_MAX));
	c->total++;
	if (c->action && ((c->nth && c->total == c->nth) ||
			  (!c->nth && point == c->point && c->counts[point] == c->occurrence))) {
		SET(c->hit, point + 1);
		stop_or_die(c->action);
	}
	errno = saved;
}
