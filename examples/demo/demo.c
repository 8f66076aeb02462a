/* SPDX-License-Identifier: MIT */
/*
 * The demo of mqshm: a real recording goes through a queue from one process to others, while one of them is killed
 * and one comes late; then what each one saw is counted and compared. This file is the order of events.
 *
 *	demo [--seconds S] [FILE]
 *
 * Exit status: 0 all held, 1 something did not or could not be done, 2 wrong usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "demo.h"

#define WATCH_MS 20

static const char synopsis[] = "usage: demo [--seconds S] [FILE]\n";

static int usage(const char *problem)
{
	fprintf(stderr, "demo: %s\n%s", problem, synopsis);
	return -2;
}

/* A file to read and write that has no name: it is gone with its last user, however that ends. */
static int unnamed_file(const char *directory)
{
	char path[PATH_MAX];
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || snprintf(path, sizeof(path), "%s/mqshm-demo-XXXXXX", directory) >= (int)sizeof(path))
		return fd;
	fd = mkostemp(path, O_CLOEXEC); /* a file system without O_TMPFILE */
	if (fd >= 0)
		unlink(path);
	return fd;
}

/* Where the writer writes; the input is cut to half of the room there. */
static int open_copy(struct demo *demo)
{
	const char *directory = getenv("TMPDIR");
	struct statvfs room;

	snprintf(demo->copy_dir, sizeof(demo->copy_dir), "%s", directory && *directory ? directory : "/tmp");
	demo->copy = unnamed_file(demo->copy_dir);
	if (demo->copy < 0) {
		fprintf(stderr, "demo: cannot make a temporary file in %s: %s\n", demo->copy_dir, strerror(errno));
		return -1;
	}
	if (!fstatvfs(demo->copy, &room)) {
		uint64_t half = (uint64_t)room.f_bavail * room.f_frsize / 2;

		input_cut(&demo->input, half < BLOCK ? BLOCK : half < MOST_BYTES ? half : MOST_BYTES);
	}
	return 0;
}

/* A name that no queue has. The pid alone will not do where containers share /dev/shm. */
static void choose_names(struct demo *demo)
{
	struct mqshm_stat *stat;

	for (unsigned i = 0; i < 100; i++) {
		snprintf(demo->queue, sizeof(demo->queue), i ? "demo-%d.%u" : "demo-%d", (int)getpid(), i);
		snprintf(demo->fast_queue, sizeof(demo->fast_queue), "%s-fast", demo->queue);
		if (mqshm_queue_stat(demo->queue, &stat) == -ENOENT)
			return;
	}
}

static int prepare(struct demo *demo, const char *path)
{
	const char *term = getenv("TERM");

	if (input_open(&demo->input, path) || open_copy(demo))
		return -1;
	demo->shared = mmap(NULL, sizeof(*demo->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (demo->shared == MAP_FAILED) {
		fprintf(stderr, "demo: no memory: %s\n", strerror(errno));
		return -1;
	}
	demo->terminal = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb");
	choose_names(demo);
	crew_init();
	return 0;
}

/* Until the processes first..last have ended or that part of the stream has gone by. Negative: something went wrong. */
static int watch(struct demo *demo, enum role first, enum role last, double part)
{
	double most = 2 * demo->seconds > 10 ? 2 * demo->seconds + 4 : 14;
	uint64_t give_up = demo->begun_ns + (uint64_t)(most * 1e9);

	while (crew_runs(demo, first, last)) {
		uint64_t begun = atomic_load(&demo->shared->report[PRODUCER].begun_ns);

		if (crew_watch(demo, WATCH_MS))
			return -1;
		if (begun && (double)(now_ns() - begun) >= part * demo->seconds * 1e9)
			return 0;
		if (now_ns() > give_up) {
			fprintf(stderr, "demo: it takes too long; giving up\n");
			return -1;
		}
	}
	return 0;
}

static int kill_victim(struct demo *demo)
{
	struct shared *shared = demo->shared;

	atomic_store(&shared->killed_ns, now_ns());
	kill(demo->pid[VICTIM], SIGKILL);
	if (watch(demo, VICTIM, VICTIM, 1e9))
		return -1;
	demo->pushed_at_kill = atomic_load(&shared->report[PRODUCER].messages);
	report_event(demo, "the victim (pid %d) was killed with SIGKILL; the stream goes on",
		     (int)demo->pid[VICTIM]);
	return 0;
}

static int paced_stream(struct demo *demo)
{
	/* The consumers first: they wait for the queue. The producer makes it and waits for them. */
	if (crew_start(demo, METER, meter_run) || crew_start(demo, WRITER, writer_run) ||
	    crew_start(demo, CHECKSUM, checksum_run) || crew_start(demo, VICTIM, victim_run) ||
	    crew_start(demo, PRODUCER, producer_run))
		return -1;
	report_start(demo);
	if (watch(demo, PRODUCER, PRODUCER, 0.5) || kill_victim(demo))
		return -1;
	if (watch(demo, PRODUCER, PRODUCER, 0.75) || crew_start(demo, LATECOMER, latecomer_run))
		return -1;
	report_event(demo, "the latecomer (pid %d) joins, from the oldest message kept",
		     (int)demo->pid[LATECOMER]);
	return watch(demo, PRODUCER, LATECOMER, 1e9);
}

static int unpaced_stream(struct demo *demo)
{
	for (int i = 0; i < FAST_READERS; i++)
		if (crew_start(demo, FAST_READER + i, fast_reader_run))
			return -1;
	if (crew_start(demo, FAST_PRODUCER, fast_producer_run))
		return -1;
	return watch(demo, FAST_PRODUCER, ROLES - 1, 1e9);
}

/* Ends by the signal that came, as others expect it. */
static int stopped(struct demo *demo)
{
	int number = crew_signal();
	sigset_t set;

	crew_stop(demo);
	if (!number)
		return 1;
	report_event(demo, "stopped; nothing is left behind");
	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
	return 128 + number;
}

static int run(struct demo *demo)
{
	int failed;

	if (paced_stream(demo) || unpaced_stream(demo))
		return stopped(demo);
	report_table(demo);
	report_throughput(demo);
	failed = verify(demo);
	if (crew_signal())
		return stopped(demo);
	if (failed)
		printf("\n%d of these did not hold.\n", failed);
	else
		printf("\nAll of it held. It took %.1f s.\n", (double)(now_ns() - demo->begun_ns) / 1e9);
	crew_stop(demo);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "demo: not all of this could be written\n");
		return 1;
	}
	return failed ? 1 : 0;
}

/* Returns the index of FILE in argv (argc: none was given), or negative after a sentence: -1 fine, -2 wrong usage. */
static int parse(struct demo *demo, int argc, char **argv)
{
	int at = 1;

	if (argc == 2 && !strcmp(argv[1], "--help")) {
		printf("%sStream FILE, by default a recording found under /usr/share, through a queue for S\n"
		       "seconds, and check that everybody got all of it.\n", synopsis);
		return -1;
	}
	if (at + 1 < argc && !strcmp(argv[at], "--seconds")) {
		char *end;

		demo->seconds = strtod(argv[at + 1], &end);
		if (*end || !(demo->seconds >= 0.1 && demo->seconds <= 60))
			return usage("--seconds takes a number from 0.1 to 60");
		at += 2;
	}
	if (at < argc && !strcmp(argv[at], "--"))
		at++;
	else if (at < argc && argv[at][0] == '-')
		return usage("unknown option");
	return at + 1 < argc ? usage("one file only") : at;
}

int main(int argc, char **argv)
{
	static struct demo demo = { .seconds = SECONDS };
	int file;

	demo.begun_ns = now_ns();
	file = parse(&demo, argc, argv);
	if (file < 0)
		return file == -1 ? 0 : 2;
	return prepare(&demo, argv[file]) ? 1 : run(&demo);
}
