/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the tool, every command of it, above a library that is simulated here and gives whatever the input
 * says: errors, queues with wild figures and metadata of any bytes, messages. So nothing is in /dev/shm. An input is
 * arguments (each ended by a zero, the last by two), then what the library gives and what stdin holds.
 *
 * Red, besides what sanitizers find: another exit code than 0, 1, 2; a failure without a line on stderr; a byte on
 * stdout or stderr that could move a cursor; JSON that is none; a push that changes what it was given.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/bench.h"
#include "hostile/probes/fuzz.h"
#include "mqshm/merge.h"
#include "mqshm/watch.h"
#include "push.h"
#include "top.h"

#define ARGUMENTS 12
#define CALLS_MOST 100 /* then the library only fails: commands that wait for ever end */

int mqshm_main(int argc, char **argv);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int fuzz_open(const char *path, int flags, ...);

static struct input in;
static unsigned calls;
static char *pushed; /* what came out of push, in order */
static size_t pushed_size, message_most;
static const uint8_t *input_data; /* stdin */
static size_t input_size;
static bool as_lines;
static int data_fd;

static __attribute__((format(printf, 1, 2), noreturn)) void red(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	dprintf(2, "RED: ");
	vdprintf(2, format, args);
	va_end(args);
	dprintf(2, "\n");
	abort();
}

/* ---- the library ---- */

static int result(void)
{
	static const int errors[] = { -EAGAIN, -ETIMEDOUT, -EBADMSG, -ESTALE, -ESHUTDOWN, -EOWNERDEAD, -ENOENT, -EBUSY };
	unsigned what = input_8(&in);

	if (++calls > CALLS_MOST)
		return -EBADMSG;
	return what < 200 ? 0 : errors[what % (sizeof errors / sizeof *errors)];
}

const char *mqshm_version(void)
{
	return "0";
}

const char *mqshm_last_error(void)
{
	return "a sentence";
}

/* What a consumer of struct mqshm_stat may rely on: strings that end, counts that fit their arrays. */
static void any_bytes(void *to, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((unsigned char *)to)[i] = (unsigned char)input_8(&in);
}

static uint64_t any_number(void)
{
	return input_value(&in, 0, &(struct mqshm_info){ .ring_bytes = 4096, .total_bytes = 8192 });
}

static void any_name(char *to, size_t most)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._";
	size_t length = input_8(&in) % most;

	for (size_t i = 0; i <= length && i < most; i++)
		to[i] = letters[(input_8(&in) + i) % 64];
	to[length < most ? length + 1 : most] = 0;
}

static struct mqshm_participant_stat *any_users(uint32_t count)
{
	struct mqshm_participant_stat *users = calloc(count ? count : 1, sizeof *users);

	for (uint32_t i = 0; i < count; i++) {
		struct mqshm_participant_stat *u = &users[i];

		u->id = (uint32_t)(i + any_number() % 3);
		u->pid = (int32_t)any_number();
		u->alive = input_8(&in) & 1;
		u->lossy = input_8(&in) & 1;
		any_bytes(u->comm, input_8(&in) % sizeof u->comm);
		u->attached_at_ns = any_number();
		u->last_access_ns = any_number();
		u->lag = any_number();
		u->missed = any_number();
		u->popped = any_number();
		u->blocks_ns = any_number();
		u->lease_ms = (uint32_t)any_number();
		u->demoted = input_8(&in) & 1;
		u->leased = input_8(&in) & 1;
		any_name(u->name, sizeof u->name - 2); /* the library shows none but these */
	}
	return users;
}

static struct mqshm_stat *any_stat(const char *name)
{
	struct mqshm_stat *s = calloc(1, sizeof *s);

	if (name)
		snprintf(s->name, sizeof s->name, "%s", name);
	else
		any_name(s->name, 60);
	strcpy(s->backend, "posix");
	if (input_8(&in) > 230) {
		s->error = -EBADMSG;
		strcpy(s->error_text, "queue is damaged");
		return s;
	}
	s->node_count = (uint32_t)any_number();
	s->block_size = (uint32_t)any_number();
	s->max_consumers = (uint32_t)any_number();
	s->max_producers = (uint32_t)any_number();
	s->flags = (uint32_t)any_number();
	s->mode = (uint32_t)any_number();
	s->ring_bytes = any_number();
	s->total_bytes = any_number();
	s->created_at_ns = any_number();
	s->producer_state = (uint32_t)any_number();
	s->metadata_size = input_16(&in) % (MQSHM_METADATA_MAX + 1);
	any_bytes(s->metadata, s->metadata_size < 40 ? s->metadata_size : 40);
	s->total_pushed = any_number();
	s->total_popped = any_number();
	s->overwrite_count = any_number();
	s->bytes_pushed = any_number();
	s->stalls = any_number();
	s->depth = any_number();
	s->kept = any_number();
	s->consumers_ever = any_number();
	s->blocked_by = (int32_t)any_number();
	s->producer_count = input_8(&in) % 3;
	s->consumer_count = input_8(&in) % 4;
	s->producers = any_users(s->producer_count);
	s->consumers = any_users(s->consumer_count);
	s->slow_policy = (uint32_t)any_number();
	s->slow_ms = (uint32_t)any_number();
	s->evicted = any_number();
	s->demoted = any_number();
	return s;
}

void mqshm_stat_free(struct mqshm_stat *s)
{
	if (s) {
		free(s->producers);
		free(s->consumers);
	}
	free(s);
}

static void check_name(const char *name)
{
	size_t length = strlen(name);

	if (!length || length > MQSHM_NAME_MAX || *name == '.' ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != length)
		red("the name '%s' comes through", name);
}

int mqshm_queue_stat(const char *name, struct mqshm_stat **out)
{
	int rc = result();

	check_name(name);
	*out = rc ? NULL : any_stat(name);
	return rc;
}

int mqshm_queue_list(int (*each)(const struct mqshm_stat *stat, void *arg), void *arg)
{
	int count = (int)(input_8(&in) % 4), rc = result();

	for (int i = 0; i < count && !rc; i++) {
		struct mqshm_stat *s = any_stat(NULL);

		rc = each(s, arg);
		mqshm_stat_free(s);
	}
	return rc ? rc : count;
}

int mqshm_queue_create(const char *name, const struct mqshm_queue_options *o)
{
	check_name(name);
	if (o->size != sizeof *o || o->node_count > MQSHM_NODES_MAX || o->block_size > MQSHM_BLOCK_MAX ||
	    o->max_consumers > MQSHM_CONSUMERS_MAX || o->metadata_size > MQSHM_METADATA_MAX || o->mode > 0777 ||
	    ((o->flags & MQSHM_HOLD) && (o->flags & MQSHM_OVERWRITE)))
		red("options come through that are none");
	return result();
}

int mqshm_queue_remove(const char *name, unsigned flags)
{
	check_name(name);
	if (flags & ~(unsigned)MQSHM_FORCE)
		red("flags %#x", flags);
	return result();
}

int mqshm_queue_gc(const char *name, void (*report)(const char *name, const char *what, void *arg), void *arg)
{
	if (name)
		check_name(name);
	if (report)
		report(name ? name : "q", "removed", arg);
	return result();
}

struct mqshm_producer {
	uint32_t block, flags;
	char *room;
	size_t size;
};

static void take(const void *data, size_t size)
{
	char *more = realloc(pushed, pushed_size + size + 1);

	if (size > message_most)
		red("a message of %zu bytes", size);
	pushed = more;
	if (size)
		memcpy(pushed + pushed_size, data, size);
	pushed_size += size;
	if (as_lines)
		pushed[pushed_size++] = '\n';
}

int mqshm_producer_open(struct mqshm_producer **out, const char *name, const struct mqshm_queue_options *queue,
			const struct mqshm_producer_options *options)
{
	int rc = result();

	check_name(name);
	(void)options;
	*out = NULL;
	if (rc)
		return rc;
	*out = calloc(1, sizeof **out);
	(*out)->block = queue && queue->block_size ? queue->block_size : 1 + input_8(&in) * 16;
	if ((*out)->block > 1 << 20)
		(*out)->block = 1 << 20;
	(*out)->flags = input_8(&in) & 1 ? MQSHM_SHARED : 0;
	message_most = (*out)->block;
	return 0;
}

int mqshm_producer_info(const struct mqshm_producer *p, struct mqshm_queue_info *info)
{
	*info = (struct mqshm_queue_info){ .block_size = p->block, .flags = p->flags };
	return 0;
}

int mqshm_producer_push(struct mqshm_producer *p, const void *data, size_t size, int timeout_ms)
{
	int rc = result();

	(void)p;
	(void)timeout_ms;
	if (!rc)
		take(data, size);
	return rc;
}

int mqshm_producer_push_batch(struct mqshm_producer *p, const struct iovec *messages, size_t count, int timeout_ms)
{
	int rc = result(), n = count ? 1 + (int)(input_8(&in) % count) : 0;

	(void)p;
	(void)timeout_ms;
	if (rc)
		return rc;
	for (int i = 0; i < n; i++)
		take(messages[i].iov_base, messages[i].iov_len);
	return n;
}

int mqshm_producer_reserve(struct mqshm_producer *p, size_t size, void **data, int timeout_ms)
{
	int rc = result();

	(void)timeout_ms;
	*data = rc ? NULL : (p->room = malloc(size ? size : 1));
	p->size = size;
	return rc;
}

int mqshm_producer_commit(struct mqshm_producer *p, size_t used)
{
	int rc = result();

	if (!p->room || used > p->size)
		red("commit of %zu", used);
	if (!rc)
		take(p->room, used);
	free(p->room);
	p->room = NULL;
	return rc;
}

int mqshm_producer_abort(struct mqshm_producer *p)
{
	free(p->room);
	p->room = NULL;
	return 0;
}

int mqshm_producer_wait_consumers(struct mqshm_producer *p, unsigned count, unsigned flags, int timeout_ms)
{
	(void)p;
	(void)count;
	(void)flags;
	(void)timeout_ms;
	return result();
}

int mqshm_producer_wait_drained(struct mqshm_producer *p, int timeout_ms)
{
	(void)p;
	(void)timeout_ms;
	return result();
}

int mqshm_producer_close(struct mqshm_producer *p)
{
	if (p)
		free(p->room);
	free(p);
	return 0;
}

int mqshm_producer_fail(struct mqshm_producer *p)
{
	return mqshm_producer_close(p);
}

struct mqshm_consumer {
	unsigned char bytes[300];
	uint32_t block;
};

int mqshm_consumer_open(struct mqshm_consumer **out, const char *name, const struct mqshm_queue_options *queue,
			const struct mqshm_consumer_options *o)
{
	int rc = result();

	check_name(name);
	if (queue || o->size != sizeof *o || o->start < 0 || o->start > 2 || o->flags & ~(uint32_t)MQSHM_LOSSY)
		red("options come through that are none");
	*out = rc ? NULL : calloc(1, sizeof **out);
	if (!rc)
		any_bytes((*out)->bytes, 20);
	return rc;
}

int mqshm_consumer_info(const struct mqshm_consumer *c, struct mqshm_queue_info *info)
{
	*info = (struct mqshm_queue_info){ .block_size = sizeof c->bytes, .flags = input_8(&in) & 2 };
	return 0;
}

int mqshm_consumer_peek(struct mqshm_consumer *c, struct mqshm_message *messages, size_t max, int timeout_ms)
{
	int rc = result(), n = 1 + (int)(input_8(&in) % max);

	(void)timeout_ms;
	if (rc)
		return rc;
	for (int i = 0; i < n; i++)
		messages[i] = (struct mqshm_message){ c->bytes, input_16(&in) % sizeof c->bytes, any_number(), any_number() };
	return n;
}

int mqshm_consumer_pop_batch(struct mqshm_consumer *c, struct mqshm_message *messages, size_t min, size_t max,
			     void *buffer, size_t capacity, int timeout_ms)
{
	int rc = mqshm_consumer_peek(c, messages, max, timeout_ms);
	size_t used = 0;

	(void)min;
	if (capacity < sizeof c->bytes)
		red("a buffer of %zu", capacity);
	for (int i = 0; i < rc; i++) {
		if (messages[i].size > capacity - used)
			return i;
		memcpy((char *)buffer + used, c->bytes, messages[i].size);
		messages[i].data = (char *)buffer + used;
		used += messages[i].size;
	}
	return rc;
}

int mqshm_consumer_release(struct mqshm_consumer *c, size_t count)
{
	(void)c;
	(void)count;
	return result();
}

int64_t mqshm_consumer_missed(const struct mqshm_consumer *c)
{
	(void)c;
	return (int64_t)(any_number() & INT64_MAX);
}

int mqshm_consumer_close(struct mqshm_consumer *c)
{
	free(c);
	return 0;
}

int mqshm_consumer_leave(struct mqshm_consumer *c)
{
	return mqshm_consumer_close(c);
}

int mqshm_consumer_demoted(const struct mqshm_consumer *c)
{
	return c->bytes[0] & 1;
}

int mqshm_consumer_resumed(const struct mqshm_consumer *c)
{
	return c->bytes[0] >> 1 & 1;
}

int64_t mqshm_consumer_lag(const struct mqshm_consumer *c)
{
	(void)c;
	return (int64_t)any_number();
}

int mqshm_queue_evict(const char *name, uint32_t consumer_id)
{
	(void)consumer_id;
	check_name(name);
	return result();
}

struct mqshm_merge {
	struct mqshm_consumer *consumer;
};

int mqshm_merge_open(struct mqshm_merge **out, int sync_timeout_ms)
{
	(void)sync_timeout_ms;
	*out = calloc(1, sizeof **out);
	return 0;
}

int mqshm_merge_add(struct mqshm_merge *merge, struct mqshm_consumer *consumer)
{
	merge->consumer = consumer;
	return 0;
}

int mqshm_merge_peek(struct mqshm_merge *merge, struct mqshm_message *message, struct mqshm_consumer **source, int timeout_ms)
{
	*source = merge->consumer;
	return mqshm_consumer_peek(merge->consumer, message, 1, timeout_ms);
}

int mqshm_merge_release(struct mqshm_merge *merge)
{
	return mqshm_consumer_release(merge->consumer, 1);
}

ssize_t mqshm_merge_next(struct mqshm_merge *merge, void *buffer, size_t capacity, struct mqshm_message *message,
			 struct mqshm_consumer **source, int timeout_ms)
{
	int rc = mqshm_merge_peek(merge, message, source, timeout_ms);

	if (rc < 0)
		return rc;
	if (message->size > capacity)
		red("a buffer of %zu", capacity);
	memcpy(buffer, message->data, message->size);
	message->data = buffer;
	return (ssize_t)message->size;
}

void mqshm_merge_stats(const struct mqshm_merge *merge, struct mqshm_merge_stats *stats)
{
	(void)merge;
	*stats = (struct mqshm_merge_stats){ .merged = any_number(), .backward = any_number() };
}

void mqshm_merge_close(struct mqshm_merge *merge)
{
	free(merge);
}

struct mqshm_watch {
	char unused;
};

int mqshm_watch_open(struct mqshm_watch **out, const char *const *names, size_t count, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < count; i++)
		check_name(names[i]);
	*out = calloc(1, sizeof **out);
	return 0;
}

int mqshm_watch_next(struct mqshm_watch *watch, struct mqshm_watch_event *event, int timeout_ms)
{
	int rc = result();

	(void)watch;
	(void)timeout_ms;
	if (rc)
		return rc;
	memset(event, 0, sizeof *event);
	event->type = input_8(&in) % 18;
	event->role = input_8(&in) % 3;
	event->time_ns = any_number();
	any_name(event->queue, 60);
	event->id = (uint32_t)any_number();
	event->pid = (int32_t)any_number();
	any_name(event->comm, sizeof event->comm - 2); /* the library makes them printable */
	any_name(event->name, sizeof event->name - 2);
	event->by_pid = (int32_t)any_number();
	event->error = -(int32_t)input_8(&in);
	event->count = any_number();
	any_name(event->text, 40);
	return 0;
}

int mqshm_watch_close(struct mqshm_watch *watch)
{
	free(watch);
	return 0;
}

/* ---- what a command must not do in here ---- */

void signals_cancel(struct mqshm_consumer *consumer, struct mqshm_producer *producer)
{
	(void)consumer;
	(void)producer;
}

void signals_catch(void)
{
}

int signals_seen(void)
{
	return 0;
}

int signals_end(int code)
{
	return code;
}

int bench_run_begin(void)
{
	errno = ENOTSUP;
	return -1;
}

int bench_run_end(void)
{
	return 0;
}

void bench_schedule(struct bench_plan *bench)
{
	(void)bench;
}

void bench_report(const struct bench_plan *bench, int argc, char **argv)
{
	(void)bench;
	(void)argc;
	(void)argv;
}

void bench_json(const struct bench_plan *bench, int argc, char **argv)
{
	bench_report(bench, argc, argv);
}

/* Files that push is given: all hold the input. */
int fuzz_open(const char *path, int flags, ...)
{
	int fd;

	if (*path == '!') {
		errno = ENOENT;
		return -1;
	}
	fd = fcntl(data_fd, F_DUPFD_CLOEXEC, 3);
	lseek(fd, 0, SEEK_SET);
	(void)flags;
	return fd;
}

/* ---- what came out ---- */

static const char *json_value(const char *p, int depth);

static const char *json_space(const char *p)
{
	return p + strspn(p, " \n");
}

static const char *json_text(const char *p)
{
	if (*p++ != '"')
		red("JSON: no string at '%.20s'", p - 1);
	while (*p != '"') {
		if (!*p)
			red("JSON: a string without end");
		if (*p == '\\' && !strchr("\"\\u", *++p))
			red("JSON: escape \\%c", *p);
		p++;
	}
	return p + 1;
}

static const char *json_list(const char *p, int depth, char last)
{
	p = json_space(p + 1);
	if (*p == last)
		return p + 1;
	for (;; p++) {
		if (last == '}') {
			p = json_space(json_text(json_space(p)));
			if (*p++ != ':')
				red("JSON: no colon");
		}
		p = json_space(json_value(json_space(p), depth + 1));
		if (*p == last)
			return p + 1;
		if (*p != ',')
			red("JSON: '%.20s'", p);
	}
}

static const char *json_value(const char *p, int depth)
{
	size_t digits;

	if (depth > 5)
		red("JSON: too deep");
	if (*p == '{')
		return json_list(p, depth, '}');
	if (*p == '[')
		return json_list(p, depth, ']');
	if (*p == '"')
		return json_text(p);
	for (int i = 0; i < 3; i++) {
		static const char *const words[] = { "null", "true", "false" };

		if (!strncmp(p, words[i], strlen(words[i])))
			return p + strlen(words[i]);
	}
	p += *p == '-';
	digits = strspn(p, "0123456789");
	if (!digits || (digits > 1 && *p == '0'))
		red("JSON: '%.20s'", p);
	return p + digits;
}

/* UTF-8, and no control characters but newlines. */
static void check_printable(const char *what, const char *text, size_t size)
{
	for (size_t i = 0, length; i < size; i += length) {
		const uint8_t *at = (const uint8_t *)text + i;

		length = utf8_length(at, size - i);
		if (!length || (*at < ' ' && *at != '\n') || *at == 0x7f || (*at == 0xc2 && at[1] < 0xa0))
			red("%s has the byte %02x %02x", what, at[0], length > 1 ? at[1] : 0);
	}
}

static void check_pushed(void)
{
	size_t size = input_size;

	if (as_lines && (!size || input_data[size - 1] == '\n')) {
		/* as it is */
	} else if (as_lines) {
		if (!pushed_size || pushed[--pushed_size] != '\n')
			red("the last line is lost");
	}
	if (pushed_size != size || memcmp(pushed ? pushed : "", input_data, size))
		red("%zu bytes were pushed of %zu, or others", pushed_size, size);
}

/* ---- one input ---- */

static void set_input(void)
{
	input_size = in.left ? input_16(&in) % (in.left + 1) : 0;
	input_size = input_size < in.left ? input_size : in.left;
	input_data = in.at + in.left - input_size;
	in.left -= input_size;
	if (ftruncate(data_fd, 0) || pwrite(data_fd, input_data, input_size, 0) != (ssize_t)input_size)
		abort();
	lseek(data_fd, 0, SEEK_SET);
}

static void run_command(void)
{
	char *arguments[ARGUMENTS + 2] = { "mqshm" }, *out_text = NULL, *error_text = NULL;
	FILE *out = stdout, *error = stderr;
	size_t out_size = 0, error_size = 0;
	int count = 1, code;
	bool json = false, push = false, top = false;

	while (count <= ARGUMENTS && in.left) {
		size_t length = strnlen((const char *)in.at, in.left);
		char *argument;

		if (!length) {
			input_8(&in);
			break;
		}
		argument = malloc(length + 1); /* exactly */
		memcpy(argument, in.at, length);
		argument[length] = 0;
		arguments[count++] = argument;
		in.at += length;
		in.left -= length;
		input_8(&in);
		if (count == 2) {
			push = !strcmp(argument, "push");
			top = !strcmp(argument, "top");
		}
		if (push && !strcmp(argument, "--lines"))
			as_lines = true;
		json |= !strcmp(argument, "--json") && !strcmp(arguments[1], "stat");
		json |= !strcmp(argument, "--json") && !strcmp(arguments[1], "list");
	}
	set_input();
	for (int i = 2; i < count; i++) /* --li, --line: getopt takes what is clear */
		as_lines |= push && !strncmp(arguments[i], "--l", 3);
	stdout = open_memstream(&out_text, &out_size);
	stderr = open_memstream(&error_text, &error_size);
	optind = 0;
	message_command = NULL;
	code = mqshm_main(count, arguments);
	fclose(stdout);
	fclose(stderr);
	stdout = out;
	stderr = error;
	if (code < 0 || code > 2)
		red("exit code %d", code);
	if (code && (strncmp(error_text, "mqshm", 5) || error_text[error_size - 1] != '\n'))
		red("it fails with %d and says '%s'", code, error_text);
	check_printable("stderr", error_text, error_size);
	if (!top)
		check_printable("stdout", out_text, out_size);
	if (json && code == 0 && (*out_text == '{' || *out_text == '[')) {
		if (*json_space(json_value(out_text, 0)))
			red("JSON: more than a value");
	}
	if (push && code == 0 && strncmp(out_text, "usage:", 6))
		check_pushed();
	free(out_text);
	free(error_text);
	for (int i = 1; i < count; i++)
		free(arguments[i]);
}

/* top without a terminal: sample twice, and draw. */
static void run_top(void)
{
	static char *const patterns[] = { "*a*", "[b-", NULL };
	unsigned how = input_8(&in);
	struct top top = { .by_name = how & 1, .patterns = how & 2 ? patterns : NULL };
	char *text = NULL;
	size_t size = 0, lines = 0;
	int rows = (int)(input_8(&in) % 70), columns = 1 + (int)(input_8(&in) * 2);
	FILE *out = open_memstream(&text, &size);

	if (!top_sample(&top) || !top_sample(&top))
		top_draw(out, &top, rows, columns);
	fclose(out);
	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	if (lines > (size_t)(rows > 3 ? rows : 3))
		red("%zu lines on a screen of %d", lines, rows);
	free(text);
	top_free(&top);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int null = open("/dev/null", O_WRONLY);

	(void)argc;
	(void)argv;
	data_fd = memfd_create("input", MFD_CLOEXEC);
	if (data_fd < 0 || dup2(data_fd, 0) < 0 || dup2(null, 1) < 0)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	in = (struct input){ data, size };
	calls = 0;
	pushed_size = 0;
	message_most = 0;
	as_lines = false;
	if (input_8(&in) % 8 == 7)
		run_top();
	else
		run_command();
	free(pushed);
	pushed = NULL;
	return 0;
}
