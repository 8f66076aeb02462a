/* SPDX-License-Identifier: MIT */
/*
 * What the files of the demo share. demo.c is the order of events; each other file has one subject:
 *
 *	input.c		which file is streamed
 *	crew.c		starting, watching and ending the processes
 *	producer.c	pushes the input at an even pace
 *	consumer.c	what all consumers do, and those that are not the meter
 *	meter.c		the level meter on the terminal
 *	throughput.c	one second without a pace
 *	verify.c	the written file against the input, and all that must hold
 *	report.c	the table
 *	cksum.c		the checksum of cksum(1)
 *	words.c		numbers and sentences for people
 */
#ifndef DEMO_H
#define DEMO_H

#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <mqshm.h>

#define BLOCK 12800u			/* bytes of a message */
#define NODES 1024u			/* messages the queue has room for */
#define MOST_BYTES (256ull << 20)	/* of the input are streamed */
#define SECONDS 5.0			/* the stream takes */
#define FAST_SECONDS 1.0		/* the unpaced part takes */
#define FAST_READERS 3
#define STALL_NS 1000000000ull		/* a producer held up so long by a dead consumer is an error */
#define LATE_SECONDS 3.0		/* a stream that takes so much longer is cut */
#define SLICE_MS 100			/* longest wait without a look at whether to stop */

/* Every process but the first. Its name in the table, and "demo-<name>" in ps and `mqshm top`. */
enum role { PRODUCER, METER, WRITER, CHECKSUM, VICTIM, LATECOMER, FAST_PRODUCER, FAST_READER, /* and two more */
	    ROLES = FAST_READER + FAST_READERS };
#define AT_START 4 /* consumers that are there before the first message; the latecomer is one more */

/* What a process tells. Written by it alone; the atomic fields are also read while it runs. */
struct report {
	_Atomic uint64_t messages, bytes;
	_Atomic uint64_t begun_ns;	/* first message; 0: none yet */
	uint64_t ended_ns;		/* last message */
	uint64_t first;			/* sequence of the first message */
	uint64_t out_of_order;		/* messages with another sequence, size or content than they should have */
	uint64_t missed;		/* as the library counts */
	bool ended;			/* saw the end of the stream */
	char error[256];		/* why it gave up */
};

/* One page, shared by all processes of the demo. */
struct shared {
	struct report report[ROLES];
	_Atomic uint64_t killed_ns;	/* the first process: when it killed the victim; 0: not yet */
	uint64_t longest_wait_ns;	/* producer: for room in the queue, at one message */
	uint64_t dead_stall_ns;		/* producer: spent waiting for the victim after its death */
	bool victim_gone;		/* producer: the victim's place in the queue is free again */
	bool cut_by_time;		/* producer: the machine could not keep the pace */
	uint32_t checksum;		/* checksummer */
};

struct input {
	char path[PATH_MAX];
	const char *why;	/* it was chosen */
	int fd;
	uint64_t size;		/* of the file */
	uint64_t bytes, blocks;	/* of it that are streamed */
	bool int16;		/* a WAV file with samples of 16 bits */
};

struct demo {
	struct input input;
	double seconds;
	bool terminal;			/* stdout is one that can go back to the start of a line */
	char queue[48], fast_queue[64];
	int copy;			/* what the writer writes: a file without a name */
	char copy_dir[PATH_MAX];	/* and where it lies */
	struct shared *shared;
	pid_t pid[ROLES];		/* 0: not started */
	bool running[ROLES];
	int status[ROLES];		/* as waitpid gives it, once it does not run */
	uint64_t pushed_at_kill;	/* messages, when the victim had died */
	uint64_t begun_ns;		/* of the whole demo */
};

/* input.c: 0, or -1 after a sentence on stderr */
int input_open(struct input *input, const char *path);
void input_cut(struct input *input, uint64_t most);

/* crew.c */
extern const char *const role_name[ROLES];
void crew_init(void);
int crew_start(struct demo *demo, enum role role, int (*run)(struct demo *demo, struct report *report));
int crew_watch(struct demo *demo, int timeout_ms); /* 0; 1: a process failed, or a signal says stop */
bool crew_runs(const struct demo *demo, enum role first, enum role last);
void crew_stop(struct demo *demo);
int crew_signal(void);	/* the signal that said stop, or 0 */
bool told_to_stop(void); /* in a process of the crew */

/* What a process of the crew does; 0, or -1 with report->error set. */
int producer_run(struct demo *demo, struct report *report);
int meter_run(struct demo *demo, struct report *report);
int writer_run(struct demo *demo, struct report *report);
int checksum_run(struct demo *demo, struct report *report);
int victim_run(struct demo *demo, struct report *report);
int latecomer_run(struct demo *demo, struct report *report);
int fast_producer_run(struct demo *demo, struct report *report);
int fast_reader_run(struct demo *demo, struct report *report);

/* consumer.c: gives each message to use(), NULL when there was none for a moment, until the end of the stream. */
int follow(const char *queue, int start, struct report *report,
	   int (*use)(void *arg, const struct mqshm_message *message), void *arg);

/* throughput.c */
size_t fast_source(const struct demo *demo, unsigned char **data);

/* verify.c */
int verify(struct demo *demo);

/* report.c */
void report_start(const struct demo *demo);
void report_event(const struct demo *demo, const char *format, ...) __attribute__((format(printf, 2, 3)));
void report_table(const struct demo *demo);
void report_throughput(const struct demo *demo);

/* cksum.c: begin with 0; the length comes in at the end */
uint32_t cksum_add(uint32_t sum, const void *data, size_t size);
uint32_t cksum_end(uint32_t sum, uint64_t length);

/* words.c */
struct words {
	char text[64];
};
struct words exact(uint64_t count);		/* 1,234,567 */
struct words in_bytes(double bytes);		/* 1.2 MiB */
struct words counted(uint64_t count, const char *what); /* 1 block, 2 blocks */
uint64_t now_ns(void);
int fail(struct report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));	/* -1 */

#endif
