/* SPDX-License-Identifier: MIT */
/*
 * A peer that scribbles on every byte of a live queue, and victims that use it. For tests/hostile/scribble.sh, which
 * builds library, tool and this with the address and undefined-behaviour sanitizers.
 *
 *	scribble QUEUE SECONDS TOOL [WORDS]	TOOL: the sanitized tool, or - for none; only places whose name has one of
 *						WORDS (separated by commas) are scribbled on, without pauses
 *
 * One process looks after the others: it starts victims anew when they end (each ends by itself after a while, so that
 * leaks show), and tells of one that is stuck in a call. Red: a victim that ends otherwise than with 0, a call that takes
 * STUCK_NS longer than it may, a result that is not documented, an error without a sentence, a success without a result.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hostile/probes/places.h"

#define NODES 16
#define BLOCK 256
#define CONSUMERS 5 /* slots */
#define VICTIMS 5
#define ROUND_MS 4000
#define MORE_S 200	       /* at most, until everything has been seen */
#define LIFE_MS 700	       /* of a victim */
#define STUCK_NS 20000000000u /* nothing takes that much longer than its timeout, on a loaded machine with sanitizers */

enum op { OPEN_P, PUSH, PUSHV, PUSH_BATCH, RESERVE, COMMIT, WAIT_C, WAIT_D, CLOSE_P, OPEN_C, POP, POP_BATCH, PEEK, RELEASE,
	  LAG, CLOSE_C, CREATE, STAT, LIST, GC, REMOVE, TOOL, OPS };
static const char *const op_names[OPS] = {
	"producer_open", "push", "pushv", "push_batch", "reserve", "commit", "wait_consumers", "wait_drained",
	"producer_close", "consumer_open", "pop", "pop_batch", "peek", "release", "lag, missed, info", "consumer_close",
	"create", "stat", "list", "gc", "remove", "tool",
};

/* Documented errors; -EAGAIN and -ETIMEDOUT where a call can wait. -EINVAL: of a node_count that was scribbled on before the
 * queue was opened, min may be too much. */
#define ATTACH -EBUSY, -ENOENT, -EEXIST, -EBADMSG, -EPROTONOSUPPORT, -ETIMEDOUT
#define PUSHING -EAGAIN, -ETIMEDOUT, -EMSGSIZE, -ESTALE, -EBADMSG, -EOVERFLOW
#define READING -EAGAIN, -ETIMEDOUT, -EMSGSIZE, -ESHUTDOWN, -EOWNERDEAD, -ESTALE, -EBADMSG, -ECONNABORTED
static const int documented[OPS][12] = {
	[OPEN_P] = { ATTACH }, [PUSH] = { PUSHING }, [PUSHV] = { PUSHING }, [PUSH_BATCH] = { PUSHING },
	[RESERVE] = { PUSHING }, [COMMIT] = { -ESTALE }, [WAIT_C] = { -EAGAIN, -ETIMEDOUT, -ESTALE },
	[WAIT_D] = { -EAGAIN, -ETIMEDOUT, -ESTALE }, [OPEN_C] = { ATTACH }, [POP] = { READING }, [POP_BATCH] = { READING, -EINVAL },
	[PEEK] = { READING }, [RELEASE] = { -ESTALE, -EBADMSG, -ECONNABORTED },
	[CREATE] = { -EEXIST, -EBADMSG, -EPROTONOSUPPORT, -ETIMEDOUT, -EBUSY },
	[STAT] = { -ENOENT, -EBADMSG, -EPROTONOSUPPORT }, [GC] = { -ENOENT },
	[REMOVE] = { -ENOENT, -EBUSY, -EBADMSG, -EPROTONOSUPPORT, -ETIMEDOUT },
};

struct shared {
	int stop;
	uint64_t scribbles, opens;
	uint64_t done[OPS], failed[OPS], damaged[OPS], stale[OPS], late[OPS];
	struct {
		int op;
		uint64_t since_ns; /* 0: not in a call */
		uint64_t allowed_ns;
	} at[VICTIMS];
};

static struct shared *shared;
static const char *queue, *tool;
static struct mqshm_queue_options options;
static int self; /* which victim we are */
static uint64_t dice;

#define GET(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define ADD(x) __atomic_add_fetch(&(x), 1, __ATOMIC_RELAXED)

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t roll(uint64_t sides)
{
	dice ^= dice >> 12;
	dice ^= dice << 25;
	dice ^= dice >> 27;
	return dice * 2685821657736338717u % sides;
}

static __attribute__((format(printf, 1, 2), noreturn)) void red(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("RED: ", stdout);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	_exit(1);
}

static int send(pid_t pid, int signal_number)
{
	return (int)syscall(SYS_kill, pid, signal_number);
}

/* The library may ask whether a process is there. It must not send one a signal because shared memory says so. */
int kill(pid_t pid, int signal_number)
{
	if (signal_number && self >= 0)
		red("signal %d would be sent to process %d", signal_number, (int)pid);
	return send(pid, signal_number);
}

/* ---- victims ---- */

static void begin(enum op op, int timeout_ms)
{
	mqshm_queue_stat(".", &(struct mqshm_stat *){ NULL }); /* leaves a sentence that no other call gives */
	shared->at[self].op = (int)op;
	shared->at[self].allowed_ns = STUCK_NS + (uint64_t)timeout_ms * 1000000u;
	__atomic_store_n(&shared->at[self].since_ns, now_ns(), __ATOMIC_RELEASE);
}

/* Judge what a call gave. */
static long long end(enum op op, long long rc)
{
	const char *said = mqshm_last_error();

	__atomic_store_n(&shared->at[self].since_ns, 0, __ATOMIC_RELEASE);
	if (rc >= 0) {
		ADD(shared->done[op]);
		return rc;
	}
	if (rc == -EBADMSG || rc == -EPROTONOSUPPORT)
		ADD(shared->damaged[op]);
	else if (rc == -ESTALE)
		ADD(shared->stale[op]);
	else if (rc == -EAGAIN || rc == -ETIMEDOUT)
		ADD(shared->late[op]);
	else
		ADD(shared->failed[op]);
	for (const int *known = documented[op]; *known != rc; known++)
		if (!*known)
			red("%s gives %lld (%s), which is not documented", op_names[op], rc, said);
	if (rc != -EAGAIN && (!is_sentence(said) || strstr(said, "starts with a dot")))
		red("%s gives %lld and says '%s'", op_names[op], rc, said);
	return rc;
}

#define DO(op, timeout_ms, call) (begin(op, timeout_ms), end(op, (long long)(call)))

static bool over(uint64_t since)
{
	return now_ns() - since > LIFE_MS * 1000000ull || __atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE);
}

static int some_timeout(void)
{
	return roll(3) ? (int)roll(3) * 5 : 0;
}

/* A queue that can't be opened is in the way: now and then it is removed. */
static void clear_the_way(void)
{
	if (roll(3) == 0)
		DO(REMOVE, 5000, mqshm_queue_remove(queue, MQSHM_FORCE));
}

static int push_some(struct mqshm_producer *p)
{
	static const char data[BLOCK] = "what is pushed";
	struct iovec pieces[3] = { { (void *)(uintptr_t)data, roll(80) }, { NULL, 0 }, { (void *)(uintptr_t)data, roll(80) } };
	struct iovec many[8];
	int timeout_ms = some_timeout();
	size_t count = roll(9), size = roll(BLOCK + 1);
	long long rc = 0;
	void *room = NULL;

	for (size_t i = 0; i < 8; i++)
		many[i] = (struct iovec){ (void *)(uintptr_t)data, roll(BLOCK + 1) };
	switch (roll(8)) {
	case 0:
		rc = DO(PUSHV, timeout_ms, mqshm_producer_pushv(p, pieces, 3, timeout_ms));
		break;
	case 1:
		rc = DO(PUSH_BATCH, timeout_ms, mqshm_producer_push_batch(p, many, count, timeout_ms));
		if (rc > (long long)count)
			red("push_batch gives %lld of %zu", rc, count);
		break;
	case 2:
		rc = DO(RESERVE, timeout_ms, mqshm_producer_reserve(p, size, &room, timeout_ms));
		if (rc < 0) {
			if (room)
				red("reserve fails and gives room");
			break;
		}
		memset(room, 'r', size);
		if (roll(3))
			rc = DO(COMMIT, 0, mqshm_producer_commit(p, size / 2));
		else
			mqshm_producer_abort(p);
		break;
	case 3:
		if (roll(8) == 0)
			DO(WAIT_C, timeout_ms, mqshm_producer_wait_consumers(p, (unsigned)roll(4), 0, timeout_ms));
		else if (roll(8) == 0)
			DO(WAIT_D, timeout_ms, mqshm_producer_wait_drained(p, timeout_ms));
		break;
	default:
		rc = DO(PUSH, timeout_ms, mqshm_producer_push(p, data, size, timeout_ms));
	}
	return (int)rc;
}

static void produce(void)
{
	uint64_t since = now_ns();

	while (!over(since)) {
		struct mqshm_producer_options o = { .size = sizeof o, .spin_us = (int32_t)roll(3) - 1 };
		struct mqshm_producer *p = NULL;

		if (DO(OPEN_P, 5000, mqshm_producer_open(&p, queue, &options, &o)) < 0) {
			if (p)
				red("producer_open fails and gives a handle");
			clear_the_way();
			continue;
		}
		ADD(shared->opens);
		for (uint64_t n = roll(400); n && !over(since); n--)
			if (push_some(p) == -ESTALE && roll(2))
				break; /* else: do the same again */
		DO(CLOSE_P, 5000, roll(2) ? mqshm_producer_close(p) : mqshm_producer_fail(p));
	}
}

/* The sanitizer sees whether all of it can be read. */
static unsigned look_at(const struct mqshm_message *m, const void *within, size_t room)
{
	const unsigned char *data = m->data;
	unsigned sum = 0;

	if (m->size > BLOCK)
		red("a message of %zu bytes", m->size);
	if (within && (data < (const unsigned char *)within || data + m->size > (const unsigned char *)within + room))
		red("a message outside the buffer");
	for (size_t i = 0; i < m->size; i++)
		sum += data[i];
	return sum;
}

static int read_some(struct mqshm_consumer *c)
{
	unsigned char *buffer = malloc(BLOCK); /* exactly, for the sanitizer */
	struct mqshm_message *m = malloc(8 * sizeof *m);
	struct mqshm_queue_info info;
	int timeout_ms = some_timeout();
	size_t max = 1 + roll(8), min = 1 + roll(max);
	long long rc = 0, n;

	if (!buffer || !m)
		abort();
	m[0] = (struct mqshm_message){ .size = SIZE_MAX };
	switch (roll(8)) {
	case 0:
		rc = DO(POP_BATCH, timeout_ms, mqshm_consumer_pop_batch(c, m, min, max, buffer, BLOCK, timeout_ms));
		if (rc == 0 || rc > (long long)max)
			red("pop_batch gives %lld of %zu", rc, max);
		for (n = 0; n < rc; n++)
			look_at(&m[n], buffer, BLOCK);
		break;
	case 1:
	case 2:
		rc = DO(PEEK, timeout_ms, mqshm_consumer_peek(c, m, max, timeout_ms));
		if (rc == 0 || rc > (long long)max)
			red("peek gives %lld of %zu", rc, max);
		for (n = 0; n < rc; n++)
			look_at(&m[n], NULL, 0);
		for (long long left = rc; left > 0; left -= n) {
			n = 1 + (long long)roll((uint64_t)left);
			if (DO(RELEASE, 0, mqshm_consumer_release(c, (size_t)n)) < 0)
				break;
		}
		break;
	case 3:
		begin(LAG, 0);
		if (mqshm_consumer_lag(c) < 0 || mqshm_consumer_missed(c) < 0 || mqshm_consumer_info(c, &info) < 0)
			red("lag %lld, missed %lld", (long long)mqshm_consumer_lag(c), (long long)mqshm_consumer_missed(c));
		if (info.metadata_size > MQSHM_METADATA_MAX || !memchr(info.name, 0, sizeof info.name))
			red("info is wrong");
		end(LAG, 0);
		break;
	default:
		rc = DO(POP, timeout_ms, mqshm_consumer_pop(c, buffer, BLOCK, m, timeout_ms));
		if (rc >= 0 && (m[0].size != (size_t)rc || m[0].data != buffer))
			red("pop gives %lld, and a message of %zu", rc, m[0].size);
		if (rc >= 0)
			look_at(m, buffer, BLOCK);
	}
	free(buffer);
	free(m);
	return (int)rc;
}

static void consume(void)
{
	uint64_t since = now_ns();

	while (!over(since)) {
		struct mqshm_consumer_options o = { .size = sizeof o, .flags = roll(2) ? MQSHM_LOSSY : 0,
						    .start = (int32_t)roll(3), .spin_us = (int32_t)roll(3) - 1 };
		struct mqshm_consumer *c = NULL;

		if (DO(OPEN_C, 5000, mqshm_consumer_open(&c, queue, roll(2) ? &options : NULL, &o)) < 0) {
			if (c)
				red("consumer_open fails and gives a handle");
			clear_the_way();
			continue;
		}
		ADD(shared->opens);
		for (uint64_t n = roll(400); n && !over(since); n--) {
			int rc = read_some(c);

			if ((rc == -ESTALE || rc == -ESHUTDOWN || rc == -EOWNERDEAD || rc == -EBADMSG) && roll(2))
				break;
		}
		DO(CLOSE_C, 5000, mqshm_consumer_close(c));
	}
}

static int each(const struct mqshm_stat *s, void *arg)
{
	(void)arg;
	if (!memchr(s->name, 0, sizeof s->name) || (s->error && !is_sentence(s->error_text)))
		red("list gives nonsense");
	return 0;
}

static void said(const char *name, const char *what, void *arg)
{
	(void)name;
	(void)arg;
	if (!is_sentence(what))
		red("gc says '%s'", what);
}

static void manage(void)
{
	uint64_t since = now_ns();

	while (!over(since)) {
		struct mqshm_stat *s = NULL;

		switch (roll(8)) {
		case 0:
			DO(LIST, 0, mqshm_queue_list(each, NULL));
			break;
		case 1:
			DO(GC, 5000, mqshm_queue_gc(queue, said, NULL));
			break;
		case 2:
			if (DO(CREATE, 5000, mqshm_queue_create(queue, &options)) < 0)
				clear_the_way();
			break;
		case 3:
			DO(REMOVE, 5000, mqshm_queue_remove(queue, 0));
			break;
		default:
			if (DO(STAT, 0, mqshm_queue_stat(queue, &s)) == 0 &&
			    (s->producer_count > s->max_producers || s->consumer_count > s->max_consumers ||
			     s->metadata_size > MQSHM_METADATA_MAX || s->kept > s->node_count))
				red("stat gives what can't be");
			mqshm_stat_free(s);
			usleep((useconds_t)roll(500));
		}
	}
}

/* Run the tool with its output in pipes (of top: a terminal). What it says on stderr is one line that begins "mqshm". */
static void run_tool(char *const arguments[], bool terminal)
{
	int out[2], master = -1, status = -1;
	char text[8192];
	size_t have = 0;
	ssize_t n;
	pid_t pid;

	begin(TOOL, 2000);
	if (pipe(out) || (terminal && ((master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0 || grantpt(master) ||
				       unlockpt(master))))
		red("no pipe or terminal");
	pid = fork();
	if (pid == 0) {
		int in = open("README.md", O_RDONLY), null = open("/dev/null", O_WRONLY);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		self = -1;
		if (terminal)
			in = null = open(ptsname(master), O_RDWR | O_NOCTTY);
		dup2(in, 0);
		dup2(null, 1);
		dup2(out[1], 2);
		close(out[0]);
		close(out[1]);
		execv(tool, arguments);
		_exit(127);
	}
	close(out[1]);
	for (bool told = false;;) {
		struct pollfd fds[2] = { { .fd = out[0], .events = POLLIN }, { .fd = master, .events = POLLIN } };
		char screen[4096];

		if (poll(fds, terminal ? 2 : 1, 1500) == 0 && !told) { /* it may wait for ever: end it in order */
			told = true;
			if (terminal)
				(void)!write(master, "q", 1);
			else
				send(pid, SIGTERM);
		}
		if (terminal && fds[1].revents & POLLIN) {
			(void)!read(master, screen, sizeof screen);
			if (!told && roll(6) == 0) {
				told = true;
				(void)!write(master, "q", 1);
			}
		}
		if (!fds[0].revents)
			continue;
		n = read(out[0], text + have, sizeof text - 1 - have);
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	text[have] = 0;
	close(out[0]);
	if (master >= 0)
		close(master);
	if (waitpid(pid, &status, 0) != pid)
		red("the tool is lost");
	if (!(WIFEXITED(status) && WEXITSTATUS(status) <= 1) && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM))
		red("mqshm %s ended with status %#x and said: %s", arguments[1], (unsigned)status, text);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1 && (strncmp(text, "mqshm ", 6) || text[have - 1] != '\n'))
		red("mqshm %s fails and says '%s'", arguments[1], text);
	end(TOOL, 0);
}

static void use_tool(void)
{
	char *name = (char *)(uintptr_t)queue;
	char *const commands[][8] = {
		{ "mqshm", "stat", name, NULL },
		{ "mqshm", "stat", name, "--json", NULL },
		{ "mqshm", "list", NULL },
		{ "mqshm", "list", "--json", NULL },
		{ "mqshm", "gc", name, NULL },
		{ "mqshm", "pop", name, "--timeout", "50", "--json", NULL },
		{ "mqshm", "pop", name, "--timeout", "50", "--lossy", NULL },
		{ "mqshm", "push", name, "--wait", "0", "README.md", NULL },
		{ "mqshm", "push", name, "--lines", "--wait", "1", NULL },
		{ "mqshm", "create", name, NULL },
		{ "mqshm", "rm", name, NULL },
		{ "mqshm", "top", NULL },
	};
	size_t count = sizeof commands / sizeof *commands;
	uint64_t since = now_ns();

	while (!over(since)) {
		size_t i = roll(count);

		run_tool(commands[i], i == count - 1);
	}
}

/* ---- the scribbler ---- */

static void store(unsigned char *object, const struct place *place, uint64_t value)
{
	if (place->size == 8)
		__atomic_store_n((uint64_t *)(object + place->offset), value, __ATOMIC_RELAXED);
	else
		__atomic_store_n((uint32_t *)(object + place->offset), (uint32_t)value, __ATOMIC_RELAXED);
}

static uint64_t load(const unsigned char *object, const struct place *place)
{
	return place->size == 8 ? __atomic_load_n((const uint64_t *)(object + place->offset), __ATOMIC_RELAXED)
				: __atomic_load_n((const uint32_t *)(object + place->offset), __ATOMIC_RELAXED);
}

/* The queue may be removed and made anew at any time: map what has the name now. */
static unsigned char *map_again(unsigned char *object, const struct mqshm_info *plan, ino_t *inode)
{
	char path[100];
	struct stat st;
	int fd;

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", queue);
	if (object && !stat(path, &st) && st.st_ino == *inode)
		return object;
	if (object)
		munmap(object, plan->total_bytes);
	fd = open(path, O_RDWR | O_CLOEXEC);
	object = MAP_FAILED;
	if (fd >= 0 && !fstat(fd, &st) && (uint64_t)st.st_size == plan->total_bytes)
		object = mmap(NULL, plan->total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	*inode = st.st_ino;
	return object == MAP_FAILED ? NULL : object;
}

/* One attack on one place, some microseconds to milliseconds long. */
static void attack(unsigned char *object, const struct place *place, const struct mqshm_info *plan, bool storm)
{
	uint64_t before = load(object, place), value = place_value(roll(PLACE_VALUES), before, plan), until;

	ADD(shared->scribbles);
	switch (roll(storm ? 2 : 6)) {
	case 0: /* to and fro: it changes between check and use */
		until = now_ns() + 1000 * (50 + roll(storm ? 4000 : 1000));
		while (now_ns() < until)
			for (int i = 0; i < 64; i++) {
				store(object, place, value);
				store(object, place, before);
			}
		break;
	case 1: /* never the same twice */
		until = now_ns() + 1000 * (50 + roll(storm ? 200000 : 1000));
		while (now_ns() < until)
			for (int i = 0; i < 64; i++)
				store(object, place, value++);
		store(object, place, before);
		break;
	case 2: /* and stays */
		store(object, place, value);
		break;
	default: /* for a while */
		store(object, place, value);
		usleep((useconds_t)roll(500));
		store(object, place, before);
	}
}

static bool wanted(const struct place *place, const char *words)
{
	char copy[200], *save = NULL;

	snprintf(copy, sizeof copy, "%s", words);
	for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save))
		if (strstr(place->name, w))
			return true;
	return false;
}

static void scribble(const struct mqshm_info *plan, const char *words)
{
	struct places all = { NULL }, places = { NULL }, idle = { NULL };
	unsigned char *object = NULL;
	ino_t inode = 0;

	places_of_object(&all, plan, CONSUMERS, 100, false);
	for (size_t i = 0; i < all.count; i++)
		if (words ? wanted(&all.at[i], words) : !wanted(&all.at[i], "pad,reserved,name,metadata,comm"))
			*place_new(&places) = all.at[i];
		else
			*place_new(&idle) = all.at[i];
	if (!places.count)
		red("no place has '%s' in its name", words);
	while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
		object = map_again(object, plan, &inode);
		if (!object) {
			usleep(100);
			continue;
		}
		if (!words && roll(16) == 0) { /* any bytes at all */
			struct place any = { .offset = roll(plan->total_bytes / 8) * 8, .size = 8 };

			attack(object, &any, plan, false);
		} else if (!words && roll(16) == 0) {
			attack(object, &idle.at[roll(idle.count)], plan, false);
		} else {
			attack(object, &places.at[roll(places.count)], plan, words);
		}
		if (!words && roll(40) == 0)
			usleep((useconds_t)roll(20000)); /* let them get to work again */
	}
	_exit(0); /* its own leaks are nobody's business */
}

/* ---- who looks after them ---- */

static pid_t start(int number, const struct mqshm_info *plan, const char *words)
{
	pid_t parent = getpid(), pid;

	dice = dice * 6364136223846793005u + 1442695040888963407u;
	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	self = number;
	dice ^= (uint64_t)number << 32 | 1;
	switch (number) {
	case -1:
		scribble(plan, words);
		break;
	case 0:
		produce();
		break;
	case 1:
	case 2:
		consume();
		break;
	case 3:
		if (roll(3) == 0)
			produce();
		else
			manage();
		break;
	default:
		if (strcmp(tool, "-"))
			use_tool();
		else
			manage();
	}
	exit(0); /* looks for leaks */
}

static bool ended_well(pid_t pid, int number, int status)
{
	if (status == 0)
		return true;
	printf("RED: process %d (%s) ended with status %#x, last in %s\n", (int)pid,
	       number < 0 ? "the scribbler" : "a victim", (unsigned)status,
	       number < 0 ? "-" : op_names[shared->at[number].op]);
	return false;
}

/* ROUND_MS of one kind of queue. */
static bool run_round(uint32_t flags, const char *words, uint64_t ms)
{
	struct mqshm_info plan;
	pid_t scribbler, victims[VICTIMS];
	uint64_t until = now_ns() + ms * 1000000u;
	bool good = true, stopping = false;
	int running = VICTIMS, status;

	options = (struct mqshm_queue_options){ .size = sizeof options, .node_count = NODES, .block_size = BLOCK,
						.max_consumers = CONSUMERS, .flags = flags };
	if (mqshm_plan(&plan, queue, &options, MQSHM_LINE))
		red("no plan");
	shared->stop = 0;
	memset(shared->at, 0, sizeof shared->at);
	scribbler = start(-1, &plan, words);
	for (int i = 0; i < VICTIMS; i++)
		victims[i] = start(i, &plan, words);
	while (running) {
		uint64_t now = now_ns();
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (now > until || !good)
			__atomic_store_n(&shared->stop, stopping = true, __ATOMIC_RELEASE);
		if (pid == scribbler) {
			good &= ended_well(pid, -1, status);
			scribbler = 0;
			continue;
		}
		for (int i = 0; i < VICTIMS && pid > 0; i++) {
			if (victims[i] != pid)
				continue;
			good &= ended_well(pid, i, status);
			shared->at[i].since_ns = 0;
			if (stopping || !good)
				running--, victims[i] = 0;
			else
				victims[i] = start(i, &plan, words);
		}
		for (int i = 0; i < VICTIMS; i++) {
			uint64_t since = __atomic_load_n(&shared->at[i].since_ns, __ATOMIC_ACQUIRE);

			if (!victims[i] || !since || now < since || now - since < shared->at[i].allowed_ns)
				continue;
			printf("RED: a victim hangs in %s\n", op_names[shared->at[i].op]);
			good = false;
			kill(victims[i], SIGABRT); /* with a trace of where */
			shared->at[i].since_ns = 0;
		}
		if (pid <= 0)
			usleep(2000);
	}
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELEASE);
	if (scribbler)
		waitpid(scribbler, &status, 0);
	return good;
}

/* Nobody scribbles any more: with a new queue all is well. */
static bool works_again(void)
{
	struct mqshm_producer *p = NULL;
	struct mqshm_consumer *c = NULL;
	char out[BLOCK];
	int rc = mqshm_queue_remove(queue, MQSHM_FORCE);

	if ((rc && rc != -ENOENT) || mqshm_producer_open(&p, queue, &options, NULL) ||
	    mqshm_consumer_open(&c, queue, NULL, NULL) || mqshm_producer_push(p, "x", 1, 1000) ||
	    mqshm_consumer_pop(c, out, sizeof out, NULL, 1000) != 1) {
		printf("RED: afterwards a new queue does not work: %s\n", mqshm_last_error());
		return false;
	}
	mqshm_producer_close(p);
	mqshm_consumer_close(c);
	mqshm_queue_remove(queue, MQSHM_FORCE);
	return true;
}

/* A run in which nothing was damaged, or nothing worked, shows nothing. On a slow machine it needs longer. */
static const char *not_seen(void)
{
	static char text[64];

	for (int i = 0; i < OPS; i++)
		if (!GET(shared->done[i]) && (i != TOOL || strcmp(tool, "-"))) {
			snprintf(text, sizeof text, "%s never worked", op_names[i]);
			return text;
		}
	if (!(GET(shared->damaged[OPEN_C]) + GET(shared->damaged[OPEN_P])) || !GET(shared->damaged[POP]) ||
	    !GET(shared->damaged[PUSH]) || !GET(shared->stale[PUSH]))
		return "damage was never told";
	return NULL;
}

static bool report(void)
{
	const char *lacks = not_seen();

	printf("# %llu scribbles, %llu handles opened\n", (unsigned long long)shared->scribbles,
	       (unsigned long long)shared->opens);
	printf("# %-18s %10s %10s %10s %10s %10s\n", "", "worked", "damaged", "stale", "waited", "other");
	for (int i = 0; i < OPS; i++)
		printf("# %-18s %10llu %10llu %10llu %10llu %10llu\n", op_names[i], (unsigned long long)shared->done[i],
		       (unsigned long long)shared->damaged[i], (unsigned long long)shared->stale[i],
		       (unsigned long long)shared->late[i], (unsigned long long)shared->failed[i]);
	if (lacks)
		printf("RED: %s\n", lacks);
	return !lacks;
}

int main(int argc, char **argv)
{
	static const uint32_t kinds[] = { 0, MQSHM_SHARED, MQSHM_OVERWRITE, MQSHM_SHARED | MQSHM_PERSISTENT,
					  MQSHM_HOLD | MQSHM_PERSISTENT, MQSHM_SHARED | MQSHM_OVERWRITE };
	const char *given = getenv("MQSHM_SEED"), *words = argc == 5 ? argv[4] : NULL;
	uint64_t seconds;
	bool good = true;

	if (argc != 4 && argc != 5)
		return 2;
	queue = argv[1];
	seconds = strtoull(argv[2], NULL, 10);
	tool = argv[3];
	self = -1;
	dice = given ? strtoull(given, NULL, 0) : now_ns() | 1;
	printf("# MQSHM_SEED=%llu\n", (unsigned long long)dice);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	for (uint64_t begun = now_ns(), round = 0;
	     good && now_ns() - begun < (seconds + (!words && not_seen() ? MORE_S : 0)) * 1000000000u; round++)
		good = run_round(kinds[round % (sizeof kinds / sizeof *kinds)], words,
				 seconds * 1000 < ROUND_MS ? seconds * 1000 : ROUND_MS) && works_again();
	if (good && !words)
		good = report();
	mqshm_queue_remove(queue, MQSHM_FORCE);
	return good ? 0 : 1;
}
