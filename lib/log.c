/* SPDX-License-Identifier: MIT */
/*
 * See log.h. Where lines go is one of two sinks, and `current` says which. Who logs counts itself in the sink's users
 * before it looks at `current` again; who changes sinks fills the unused one, makes it current, and waits until nobody
 * uses the former. So nobody who logs ever waits.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "log.h"

#define TEXT_MOST 256
#define NAP_NS 1000000

static const char *const words[] = { "off", "error", "warning", "info", "debug" };

static struct sink {
	void (*callback)(int level, const char *queue, const char *text, void *arg); /* NULL: stderr */
	void *arg;
	int level;
	uint32_t users; /* threads in callback */
} sinks[2] = { { .level = MQSHM_LOG_DEBUG } };
static uint32_t current;
static int most = -1; /* level of the current sink; -1: MQSHM_LOG has not been looked at */
static uint32_t changing; /* 1: somebody changes sinks */

struct line {
	struct line *next;
	int level;
	char queue[MQSHM_NAME_MAX + 1], text[TEXT_MOST];
};
static __thread struct line *kept, **kept_end;
static __thread unsigned holds;
static __thread struct sink *inside; /* the sink whose callback this thread is in */

static int level_of(const char *word)
{
	for (int i = MQSHM_LOG_OFF; i <= MQSHM_LOG_DEBUG; i++)
		if (!strcmp(word, words[i]))
			return i;
	return -1;
}

/* One write, so that lines of several threads and processes don't mix. */
static void to_stderr(int level, const char *queue, const char *text)
{
	char line[TEXT_MOST + 128];
	int n = snprintf(line, sizeof line, "mqshm: %s: queue '%s': %s\n", words[level], queue, text);

	(void)!write(STDERR_FILENO, line, (size_t)n);
}

static int first_look(void)
{
	const char *wanted = getenv("MQSHM_LOG");
	int level = wanted && *wanted ? level_of(wanted) : MQSHM_LOG_OFF, unknown = -1;

	/* Of several threads that get here one sets it, and has the say. The first sink takes all that are wanted. */
	if (!__atomic_compare_exchange_n(&most, &unknown, level < 0 ? MQSHM_LOG_OFF : level, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return unknown;
	if (level >= 0)
		return level;
	dprintf(STDERR_FILENO, "mqshm: MQSHM_LOG is '%.40s', not error, warning, info, debug or off: nothing is logged\n",
		wanted);
	return MQSHM_LOG_OFF;
}

bool mqshm_log_wants(int level)
{
	KEEP_ERRNO;
	int now = __atomic_load_n(&most, __ATOMIC_ACQUIRE);

	if (now < 0)
		now = first_look();
	return level <= now && !inside;
}

static struct sink *enter(void)
{
	for (;;) {
		uint32_t i = __atomic_load_n(&current, __ATOMIC_SEQ_CST);

		__atomic_fetch_add(&sinks[i].users, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&current, __ATOMIC_SEQ_CST) == i)
			return &sinks[i];
		__atomic_fetch_sub(&sinks[i].users, 1, __ATOMIC_SEQ_CST);
	}
}

static void deliver(int level, const char *queue, const char *text)
{
	char sentence[TEXT_MOST];
	struct sink *sink = enter();

	if (level <= sink->level) { /* it may be another than the one that wanted the line */
		if (sink->callback) {
			snprintf(sentence, sizeof sentence, "%s", mqshm_last_error());
			inside = sink;
			sink->callback(level, queue, text, sink->arg);
			inside = NULL;
			mqshm_say("%s", sentence);
		} else {
			to_stderr(level, queue, text);
		}
	}
	__atomic_fetch_sub(&sink->users, 1, __ATOMIC_SEQ_CST);
}

static void keep(int level, const char *queue, const char *text)
{
	struct line *line = malloc(sizeof *line);

	if (!line)
		return; /* nobody can be told */
	line->next = NULL;
	line->level = level;
	snprintf(line->queue, sizeof line->queue, "%s", queue);
	snprintf(line->text, sizeof line->text, "%s", text);
	if (!kept)
		kept_end = &kept;
	*kept_end = line;
	kept_end = &line->next;
}

void mqshm_log_line(int level, const char *queue, const char *format, ...)
{
	KEEP_ERRNO;
	char text[TEXT_MOST];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (holds)
		keep(level, queue, text);
	else
		deliver(level, queue, text);
}

void mqshm_log_hold(void)
{
	holds++;
}

void mqshm_log_deliver(void)
{
	KEEP_ERRNO;

	if (--holds || inside) /* a callback's call: who called that goes on with what is kept */
		return;
	while (kept) {
		struct line *line = kept;

		kept = line->next; /* first: what the callback does may hold and keep anew */
		deliver(line->level, line->queue, line->text);
		free(line);
	}
}

/* Only this thread is left: nobody else uses a sink or changes them. */
static void after_fork_in_child(void)
{
	sinks[0].users = inside == &sinks[0];
	sinks[1].users = inside == &sinks[1];
	changing = 0;
}

static void register_fork_handler(void)
{
	pthread_atfork(NULL, NULL, after_fork_in_child);
}

static void nap(void)
{
	nanosleep(&(struct timespec){ 0, NAP_NS }, NULL);
}

int mqshm_log_set(int level, void (*callback)(int level, const char *queue, const char *text, void *arg), void *arg)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint32_t now, next;
	KEEP_ERRNO;

	if (level < MQSHM_LOG_OFF || level > MQSHM_LOG_DEBUG)
		return mqshm_error(-EINVAL, "log level %d is not 0..%d", level, MQSHM_LOG_DEBUG);
	if (inside)
		return mqshm_error(-EDEADLK, "a log callback can't replace itself");
	pthread_once(&once, register_fork_handler);
	while (__atomic_exchange_n(&changing, 1, __ATOMIC_ACQUIRE))
		nap();
	now = __atomic_load_n(&current, __ATOMIC_RELAXED);
	next = !now;
	/* A user now is one who came too late, and is about to see that this sink is not current. */
	sinks[next].callback = callback;
	sinks[next].arg = arg;
	sinks[next].level = level;
	__atomic_store_n(&current, next, __ATOMIC_SEQ_CST);
	__atomic_store_n(&most, level, __ATOMIC_RELEASE);
	while (__atomic_load_n(&sinks[now].users, __ATOMIC_SEQ_CST))
		nap();
	__atomic_store_n(&changing, 0, __ATOMIC_RELEASE);
	return 0;
}
