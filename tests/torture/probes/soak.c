/* SPDX-License-Identifier: MIT */
/*
 * A long soak: many messages through 8 consumers, on one queue or spread over many, while consumers come and go; every
 * message is checked by each. Meanwhile the memory, descriptors and mappings of those who stay and what lies in /dev/shm
 * are looked at: after the first tenth of the messages nothing of it may grow, until 95 of 100.
 *
 *	soak [--queues N] [--messages N] [--seed N] [--progress]
 *
 * Seats 0 and 1 keep their handles from beginning to end; 2 to 4 are processes that stay, closing and opening a handle
 * again and again; in 5 to 7 processes come and go, and a third of these is killed, another third exits without closing.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conformance/payload.h"
#include "mqshm.h"

#define SEATS 8
#define STAYS 2	   /* seats that keep their handles ... */
#define RETURNS 5  /* ... and up to here those that keep their process */
#define BLOCK 64
#define BATCH 32
#define QUEUES_MOST 4000
#define TURNS 1000 /* how often a handle is closed and opened again, or a process replaced, in a run: for each 1 of these */

/*
 * What private memory may grow by between the first tenth of a run and its end: some pages of noise, and less than a handle
 * for each time that one was opened meanwhile. Of shared memory nobody may have more mapped in than there is in /dev/shm.
 */
#define ANON_MOST_KB 24
#define ANON_MOST_PER_OPEN 64 /* bytes */

#define GET(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)
#define ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_ACQ_REL)

struct shared {
	uint64_t pushed, popped[SEATS], opened, opened_by[SEATS], done, failed;
	uint32_t looks_due, looks_done;
	uint32_t ready[SEATS];
};

struct sample {
	long anon_kb, shared_kb, rss_kb, descriptors, mappings;
};

static struct shared *shared;
static uint64_t messages = 200000, seed, queues = 1;
static bool show_progress;
static pid_t supervisor;

static uint64_t draw(uint64_t *state)
{
	uint64_t x = *state; /* xorshift64*, Vigna 2016 */

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 2685821657736338717u;
}

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...)
{
	va_list arguments;
	char text[300];

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	printf("# %s\n", text);
	(void)fflush(stdout);
	SET(shared->failed, 1);
	_exit(1);
}

#define MUST(cond, ...)                 \
	do {                            \
		if (!(cond))            \
			die(__VA_ARGS__); \
	} while (0)

static const char *name_of(uint64_t queue)
{
	static char name[64];

	snprintf(name, sizeof name, "t%d-soak%" PRIu64, (int)supervisor, queue);
	return name;
}

static uint64_t messages_of(uint64_t queue)
{
	return messages / queues + (queue < messages % queues);
}

static uint64_t key_of(uint64_t queue, uint64_t sequence)
{
	return queue << 40 | sequence;
}

/* ---- producer ---- */

static const struct mqshm_queue_options *options_of(void)
{
	static struct mqshm_queue_options options = { .size = sizeof options, .block_size = BLOCK, .max_consumers = 16 };

	options.node_count = queues == 1 ? 1024 : 16;
	return &options;
}

/* All is read and nothing happens while the supervisor looks around. */
static void let_look(struct mqshm_producer **p, uint64_t queue)
{
	uint32_t due = ADD(shared->looks_due, 1) + 1;

	MUST(!mqshm_producer_wait_drained(p[queue], -1), "wait_drained: %s", mqshm_last_error());
	while (GET(shared->looks_done) < due)
		usleep(1000);
}

static void produce(void)
{
	struct mqshm_producer **p = calloc(queues, sizeof(struct mqshm_producer *));
	uint64_t *next = calloc(queues, sizeof *next), left = messages, random = seed | 1;
	unsigned char payload[BLOCK];

	for (uint64_t q = 0; q < queues; q++)
		MUST(!mqshm_producer_open(&p[q], name_of(q), options_of(), NULL), "producer_open: %s", mqshm_last_error());
	for (uint64_t q = 0; q < queues; q++)
		MUST(!mqshm_producer_wait_consumers(p[q], SEATS, MQSHM_EVER, -1), "wait_consumers: %s", mqshm_last_error());
	for (uint64_t q = 0; left; q = q + 1 == queues ? 0 : q + 1)
		for (uint64_t burst = queues == 1 ? 1000 : 1 + (draw(&random) >> 32) % 12; burst && next[q] < messages_of(q); burst--) {
			uint64_t key = key_of(q, next[q]);
			size_t size = payload_size(key, BLOCK);

			payload_fill(payload, size, key);
			MUST(!mqshm_producer_push(p[q], payload, size, -1), "push: %s", mqshm_last_error());
			next[q]++;
			left--;
			SET(shared->pushed, messages - left);
			if (messages - left == messages / 10 || messages - left == messages - messages / 20)
				let_look(p, q);
		}
	for (uint64_t q = 0; q < queues; q++) /* so that who comes now is not left with a queue that comes to nothing */
		MUST(!mqshm_producer_wait_drained(p[q], -1), "wait_drained: %s", mqshm_last_error());
	SET(shared->done, 1);
	for (uint64_t q = 0; q < queues; q++)
		MUST(!mqshm_producer_close(p[q]), "producer_close: %s", mqshm_last_error());
	free(p);
	free(next);
	_exit(0);
}

/* ---- consumers ---- */

struct reading {
	struct mqshm_consumer *consumer;
	uint64_t next;
	bool known, ended;
};

static int open_one(struct reading *r, unsigned seat, uint64_t queue, int start)
{
	struct mqshm_consumer_options options = { .size = sizeof options, .start = start, .wait_ms = 0 };
	int rc;

	do {
		rc = mqshm_consumer_open(&r->consumer, name_of(queue), NULL, &options);
		if (rc == -ENOENT && GET(shared->done))
			return rc;
	} while (rc == -ENOENT && !usleep(1000)); /* the producer is still making them */
	MUST(!rc, "consumer_open: %s", mqshm_last_error());
	r->known = r->ended = false;
	ADD(shared->opened, 1);
	ADD(shared->opened_by[seat], 1);
	return 0;
}

/* Takes what is there; true: the stream has ended. */
static uint64_t take(struct reading *r, uint64_t queue, int timeout_ms)
{
	static unsigned char buffer[BATCH * BLOCK];
	struct mqshm_message m[BATCH];
	int n = mqshm_consumer_pop_batch(r->consumer, m, 1, BATCH, buffer, sizeof buffer, timeout_ms);

	if (n == -ESHUTDOWN) {
		MUST(!r->known || r->next == messages_of(queue), "queue %" PRIu64 " ended at message %" PRIu64, queue, r->next);
		r->ended = true;
		return 0;
	}
	MUST(n > 0 || n == -EAGAIN || n == -ETIMEDOUT, "pop_batch: %d, %s", n, mqshm_last_error());
	for (int i = 0; i < n; i++) {
		uint64_t key = key_of(queue, m[i].sequence);

		MUST(!r->known || m[i].sequence == r->next, "queue %" PRIu64 ": message %" PRIu64 " instead of %" PRIu64, queue,
		     m[i].sequence, r->next);
		MUST(m[i].size == payload_size(key, BLOCK) && payload_good(m[i].data, m[i].size, key),
		     "queue %" PRIu64 ": message %" PRIu64 " is not whole", queue, m[i].sequence);
		r->known = true;
		r->next = m[i].sequence + 1;
	}
	return n > 0 ? (uint64_t)n : 0;
}

static void leave(struct reading *reading, uint64_t *random)
{
	switch ((draw(random) >> 32) % 3) {
	case 0:
		raise(SIGKILL);
		break;
	case 1:
		_exit(0);
	default:
		for (uint64_t q = 0; q < queues; q++)
			MUST(!mqshm_consumer_close(reading[q].consumer), "consumer_close: %s", mqshm_last_error());
		_exit(0);
	}
}

static void consume(unsigned seat, unsigned turn)
{
	struct reading *reading = calloc(queues, sizeof *reading);
	uint64_t random = (seed ^ (((uint64_t)seat + 1) << 32 | (turn + 1)) * 0x9e3779b97f4a7c15u) | 1;
	uint64_t every = messages / TURNS + 1, got = 0, ended = 0, mine = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < 4; i++)
		draw(&random);
	mine = 10 * every + (draw(&random) >> 32) % (20 * every); /* of those who come and go */
	for (uint64_t q = 0; q < queues; q++)
		if (open_one(&reading[q], seat, q,
			     seat < RETURNS || (queues == 1 && draw(&random) >> 63) ? MQSHM_FROM_OLDEST : MQSHM_FROM_LATEST))
			_exit(0);
	SET(shared->ready[seat], 1);
	while (ended < queues) {
		uint64_t round = 0;

		for (uint64_t q = 0; q < queues; q++) {
			uint64_t n;

			if (reading[q].ended)
				continue;
			n = take(&reading[q], q, queues == 1 ? 1000 : 0);
			ended += reading[q].ended;
			round += n;
			if (seat >= STAYS && seat < RETURNS && (got + round) / every != (got + round - n) / every) {
				MUST(!mqshm_consumer_close(reading[q].consumer), "consumer_close: %s", mqshm_last_error());
				reading[q].consumer = NULL;
				if (open_one(&reading[q], seat, q, draw(&random) >> 63 ? MQSHM_FROM_OLDEST : MQSHM_FROM_LATEST)) {
					reading[q].ended = true;
					ended++;
				}
			}
		}
		got += round;
		SET(shared->popped[seat], shared->popped[seat] + round);
		if (seat >= RETURNS && got >= mine)
			leave(reading, &random);
		if (!round && queues > 1)
			usleep(100);
	}
	for (uint64_t q = 0; q < queues; q++) {
		MUST(seat >= STAYS || reading[q].next == messages_of(q), "queue %" PRIu64 ": got %" PRIu64 " of %" PRIu64, q,
		     reading[q].next, messages_of(q));
		MUST(!mqshm_consumer_close(reading[q].consumer), "consumer_close: %s", mqshm_last_error());
	}
	free(reading);
	_exit(0);
}

/* ---- looking on ---- */

static long count_entries(const char *path, const char *prefix, uint64_t *bytes)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	long count = 0;
	struct stat st;

	while (directory && (entry = readdir(directory)))
		if (!strncmp(entry->d_name, prefix, strlen(prefix)) && entry->d_name[0] != '.') {
			count++;
			if (bytes && !fstatat(dirfd(directory), entry->d_name, &st, 0))
				*bytes += (uint64_t)st.st_blocks * 512;
		}
	if (directory)
		closedir(directory);
	return count;
}

static struct sample look(pid_t pid)
{
	struct sample s = { 0 };
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f)) {
		if (!strncmp(line, "RssAnon:", 8))
			s.anon_kb = strtol(line + 8, NULL, 10);
		if (!strncmp(line, "RssShmem:", 9))
			s.shared_kb = strtol(line + 9, NULL, 10);
		if (!strncmp(line, "VmRSS:", 6))
			s.rss_kb = strtol(line + 6, NULL, 10);
	}
	if (f)
		fclose(f);
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	s.descriptors = count_entries(path, "", NULL);
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f))
		s.mappings++;
	if (f)
		fclose(f);
	return s;
}

#define WATCHED (RETURNS + 1) /* the seats that keep their process, and the producer */

struct scene {
	struct sample process[WATCHED];
	uint64_t opened[WATCHED];
	long files;
	uint64_t file_bytes, pushed;
};

static struct scene look_around(const pid_t *seat, pid_t producer)
{
	struct scene s = { .pushed = GET(shared->pushed) };
	char prefix[64];

	for (int i = 0; i < WATCHED; i++) {
		s.process[i] = look(i < RETURNS ? seat[i] : producer);
		s.opened[i] = i < RETURNS ? GET(shared->opened_by[i]) : 0;
	}
	snprintf(prefix, sizeof prefix, "mqshm.t%d-soak", (int)supervisor);
	s.files = count_entries("/dev/shm", prefix, &s.file_bytes);
	return s;
}

/* Where something has grown it is said; who closes and opens handles may just be between the two. */
static bool flat(const struct scene *a, const struct scene *b)
{
	bool good = a->files == b->files && a->file_bytes == b->file_bytes;

	printf("# after %" PRIu64 " messages: %ld files, %" PRIu64 " KiB in /dev/shm; after %" PRIu64 ": %ld, %" PRIu64 " KiB%s\n",
	       a->pushed, a->files, a->file_bytes / 1024, b->pushed, b->files, b->file_bytes / 1024, good ? "" : "  GROWN");
	for (int i = 0; i < WATCHED; i++) {
		const struct sample *x = &a->process[i], *y = &b->process[i];
		bool returns = i >= STAYS && i < RETURNS;
		uint64_t opened = b->opened[i] - a->opened[i];
		long anon_most = ANON_MOST_KB + (long)(opened * ANON_MOST_PER_OPEN / 1024);
		bool ok = y->anon_kb - x->anon_kb <= anon_most && y->shared_kb <= (long)(b->file_bytes / 1024) + 4 &&
			  y->descriptors - x->descriptors <= 3 * returns && y->mappings - x->mappings <= 3 * returns;

		printf("# %-38s private %ld -> %ld KiB, shared %ld -> %ld KiB, RSS %ld -> %ld KiB, descriptors %ld -> %ld, mappings %ld -> %ld, %" PRIu64 " opens%s\n",
		       i == RETURNS ? "producer" : returns ? "consumer that closes and opens again" : "consumer that stays",
		       x->anon_kb, y->anon_kb, x->shared_kb, y->shared_kb, x->rss_kb, y->rss_kb, x->descriptors, y->descriptors, x->mappings, y->mappings,
		       opened, ok ? "" : "  GROWN");
		good &= ok;
	}
	return good;
}

static pid_t start(void (*run)(unsigned seat, unsigned turn), unsigned seat, unsigned turn)
{
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		run(seat, turn);
		_exit(0);
	}
	return pid;
}

static void run_producer(unsigned seat, unsigned turn)
{
	(void)seat;
	(void)turn;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	produce();
}

static int soak(void)
{
	struct timespec nap = { 0, 2000000 };
	struct scene before = { .pushed = 0 }, after = { .pushed = 0 };
	pid_t producer, seat[SEATS];
	unsigned turn[SEATS] = { 0 }, left = SEATS + 1, killed = 0, turns = 0;
	time_t begun = time(NULL), said = begun;
	bool good;
	int status;
	pid_t pid;

	producer = start(run_producer, 0, 0);
	for (unsigned i = 0; i < SEATS; i++)
		seat[i] = start(consume, i, 0);
	while (left) {
		uint64_t pushed = GET(shared->pushed);

		nanosleep(&nap, NULL);
		if (GET(shared->looks_due) != GET(shared->looks_done)) {
			*(before.pushed ? &after : &before) = look_around(seat, producer);
			ADD(shared->looks_done, 1);
		}
		if (show_progress && time(NULL) >= said + 5) {
			said = time(NULL);
			fprintf(stderr, "%" PRIu64 " of %" PRIu64 " messages, %.0f s left\n", pushed, messages,
				pushed ? (double)(said - begun) * (double)(messages - pushed) / (double)pushed : 0);
		}
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			unsigned i = 0;

			while (i < SEATS && seat[i] != pid)
				i++;
			killed += i >= RETURNS && i < SEATS && WIFSIGNALED(status);
			if (!GET(shared->failed) && (WIFEXITED(status) ? WEXITSTATUS(status) : i < RETURNS || i == SEATS))
				die("a process ended with status 0x%x", (unsigned)status);
			if (i >= RETURNS && i < SEATS && !GET(shared->done)) {
				seat[i] = start(consume, i, ++turn[i]);
				turns++;
			} else {
				left--;
			}
		}
		if (GET(shared->failed))
			return 1; /* the others end with us */
	}
	printf("# %" PRIu64 " messages through %" PRIu64 " queues to %d consumers in %ld s; %u processes replaced, %u of them killed; "
	       "%" PRIu64 " opens\n", messages, queues, SEATS, (long)(time(NULL) - begun), turns, killed, shared->opened);
	for (unsigned i = 0; i < SEATS; i++)
		printf("# seat %u popped and checked %" PRIu64 "\n", i, shared->popped[i]);
	good = flat(&before, &after);
	for (uint64_t q = 0; q < queues; q++) {
		char path[100];

		mqshm_queue_gc(name_of(q), NULL, NULL);
		snprintf(path, sizeof path, "/dev/shm/mqshm.%s", name_of(q));
		if (!access(path, F_OK)) {
			printf("# %s is left behind\n", path);
			good = false;
		}
	}
	return good ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct rlimit files;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--progress"))
			show_progress = true;
		else if (i + 1 < argc && !strcmp(argv[i], "--queues"))
			queues = strtoull(argv[++i], NULL, 0);
		else if (i + 1 < argc && !strcmp(argv[i], "--messages"))
			messages = strtoull(argv[++i], NULL, 0);
		else if (i + 1 < argc && !strcmp(argv[i], "--seed"))
			seed = strtoull(argv[++i], NULL, 0);
		else
			queues = 0;
	}
	if (queues < 1 || queues > QUEUES_MOST || messages < queues || messages < 100) {
		fprintf(stderr, "usage: soak [--queues 1..%d] [--messages N] [--seed N] [--progress]\n", QUEUES_MOST);
		return 2;
	}
	if (!seed)
		seed = (uint64_t)time(NULL);
	printf("# soak --queues %" PRIu64 " --messages %" PRIu64 " --seed %" PRIu64 "\n", queues, messages, seed);
	supervisor = getpid();
	if (!getrlimit(RLIMIT_NOFILE, &files)) { /* a handle has a descriptor */
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	return soak();
}
