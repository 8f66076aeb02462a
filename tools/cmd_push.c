/* SPDX-License-Identifier: MIT */
/*
 * mqshm push: sends a file or stdin through a queue. Called by main.c. Like a FIFO it begins when its readers are
 * there and leaves when those who are there have read everything; data that nobody read is never passed over in
 * silence.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "push.h"

#define CONSUMERS_DEFAULT 32 /* of a queue made without max_consumers */

static const char help[] =
	"usage: mqshm push NAME [FILE] [--lines] [--block BYTES] [--nodes N] [--slow WHAT]\n"
	"                  [--wait N] [-v]\n"
	"Send FILE (default, and for '-': stdin) through the queue NAME, which is created when needed.\n"
	"Begins when N consumers have ever attached, and says that it waits for them; leaves when all who\n"
	"are attached have read everything, or have left. On a terminal stderr shows the progress: bytes,\n"
	"rate, the share of time the queue was full, and which consumer it waits for.\n\n"
	"  --block BYTES   the input is cut into messages of that size, the last one may be shorter; 1 to 1G\n"
	"                  (K, M, G: 1024 and so on); default what the queue has, 12800 for a new one\n"
	"  --lines         each line is a message, without its newline; --block is the longest line then\n"
	"  --nodes N       of a new queue: most messages outstanding, 1 to 1073741824; default 1024\n"
	"  --slow WHAT     of a new queue: what becomes of a consumer that lives but has not moved for MS\n"
	"                  milliseconds while this waits for it: block (default), evict:MS or demote:MS,\n"
	"                  see 'mqshm create --help'. Whoever is evicted or demoted is named on stderr\n"
	"  --wait N        how many consumers to wait for, 0 to 256; default 1. 0 begins at once, and warns\n"
	"                  at the end when there was data that nobody read\n"
	"  -v, --verbose   a summary on stderr at the end\n"
	"  --help          this text\n\n"
	"A queue that exists must have the --block, --nodes and --slow that are given, whatever else it has.\n\n"
	"exit codes: 0 all was pushed; 1 failed (a line too long, the queue has a producer, ...); 2 wrong\n"
	"usage; a signal ends it as that signal does. When it fails or a signal ends it, its readers\n"
	"exit with 1: what they have is not the whole\n\n"
	"example: mqshm push q recording.wav --wait 2\n"
	"         two others run: mqshm pop q > copy\n";

static const struct option long_options[] = {
	{ "lines", no_argument, NULL, 'l' },
	{ "block", required_argument, NULL, 'b' },
	{ "nodes", required_argument, NULL, 'n' },
	{ "slow", required_argument, NULL, 's' },
	{ "wait", required_argument, NULL, 'w' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct wish {
	struct mqshm_queue_options queue;
	const char *file;
	unsigned wait;
	bool lines, verbose;
};

/* True to go on; else *code is the exit code. */
static bool parse(int argc, char **argv, struct wish *wish, int *code)
{
	uint64_t number = 0;
	int option;

	*code = EXIT_USAGE;
	while ((option = next_option(argc, argv, ":vh", long_options)) != -1) {
		if (option == 'h') {
			*code = output_text(help);
			return false;
		}
		if (option == '?' || (option == 'b' && !parse_bytes("--block", optarg, 1, MQSHM_BLOCK_MAX, &number)) ||
		    (option == 'n' && !parse_number("--nodes", optarg, 1, MQSHM_NODES_MAX, &number)) ||
		    (option == 's' && !parse_slow("--slow", optarg, &wish->queue)) ||
		    (option == 'w' && !parse_number("--wait", optarg, 0, MQSHM_CONSUMERS_MAX, &number)))
			return false;
		if (option == 'b')
			wish->queue.block_size = (uint32_t)number;
		else if (option == 'n')
			wish->queue.node_count = (uint32_t)number;
		else if (option == 'w')
			wish->wait = (unsigned)number;
		else if (option == 'l')
			wish->lines = true;
		else if (option == 'v')
			wish->verbose = true;
	}
	if (!check_arguments(argc, argv, 2, "NAME") || !parse_name(argv[optind]))
		return false;
	wish->file = argv[optind + 1];
	return true;
}

/* Before any queue is made. */
static bool open_input(struct push *push, const char *file)
{
	struct stat status;
	off_t at;

	push->file = file && strcmp(file, "-") ? file : "stdin";
	push->input = push->file == file ? open(file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	if (push->input < 0 || fstat(push->input, &status) < 0) {
		complain("can't open %s: %s", push->file, strerror(errno));
		return false;
	}
	if (S_ISDIR(status.st_mode)) {
		complain("can't read %s: it is a directory", push->file);
		return false;
	}
	if (S_ISREG(status.st_mode) && (at = lseek(push->input, 0, SEEK_CUR)) >= 0 && at < status.st_size)
		push->input_bytes = (uint64_t)(status.st_size - at);
	return true;
}

static void tell_slow(const struct mqshm_slow *slow, void *arg)
{
	struct mqshm_participant_stat who = { .pid = slow->pid };
	char comm[16];

	(void)arg;
	memcpy(who.comm, slow->comm, sizeof who.comm);
	stat_comm(&who, comm);
	complain("queue '%s': %s consumer %u, pid %d (%s): it did not move for %s with %s message%s to read", slow->queue,
		 slow->policy == MQSHM_SLOW_EVICT ? "evicted" : "demoted", (unsigned)slow->id, (int)slow->pid, comm,
		 unit_time(slow->blocked_ns).text, unit_exact(slow->lag).text, plural(slow->lag));
}

static int open_queue(struct push *push, struct wish *wish)
{
	struct mqshm_producer_options options = { .size = sizeof options, .slow = tell_slow };
	struct mqshm_queue_info info = { 0 };
	int result;

	wish->queue.flags = MQSHM_ANY_FLAGS;
	if (wish->wait > CONSUMERS_DEFAULT)
		wish->queue.max_consumers = wish->wait; /* of a new queue */
	result = mqshm_producer_open(&push->producer, push->name, &wish->queue, &options);
	if (result == -EEXIST && wish->queue.max_consumers) {
		wish->queue.max_consumers = 0;
		result = mqshm_producer_open(&push->producer, push->name, &wish->queue, &options);
	}
	if (!result)
		result = mqshm_producer_info(push->producer, &info);
	if (result)
		return library_error();
	push->block = info.block_size;
	push->shared = info.flags & MQSHM_SHARED;
	return EXIT_DONE;
}

static int wait_consumers(struct push *push, unsigned count)
{
	int result = mqshm_producer_wait_consumers(push->producer, count, MQSHM_EVER, QUIET_WAIT_MS);

	if (result == -ETIMEDOUT)
		complain("queue '%s' waits for %u consumer%s (mqshm pop %s)", push->name, count, plural(count),
			 push->name);
	while ((result == -ETIMEDOUT || result == -EINTR) && !signals_seen())
		result = mqshm_producer_wait_consumers(push->producer, count, MQSHM_EVER, -1);
	if (result < 0 && !signals_seen())
		return library_error();
	return result < 0 ? EXIT_FAILED : EXIT_DONE;
}

static int wait_drained(struct push *push)
{
	int result;

	do {
		result = mqshm_producer_wait_drained(push->producer, WAIT_SLICE_MS);
		if (result < 0)
			progress_tick(push, true);
	} while ((result == -ETIMEDOUT || result == -EINTR) && !signals_seen());
	if (result < 0 && !signals_seen())
		return library_error();
	return result < 0 ? EXIT_FAILED : EXIT_DONE;
}

static uint64_t total_popped(const char *name, bool *persistent)
{
	struct mqshm_stat *stat;
	uint64_t popped;

	if (mqshm_queue_stat(name, &stat) < 0)
		return UINT64_MAX; /* not known: no warning */
	popped = stat->total_popped;
	*persistent = stat->flags & MQSHM_PERSISTENT;
	mqshm_stat_free(stat);
	return popped;
}

/*
 * Fewer reads than messages: some were read by nobody. That is a lower bound, since several consumers count several
 * times, so the warning is never wrong.
 */
static void warn_of_unread(const struct push *push, uint64_t popped_before)
{
	bool persistent = false;
	uint64_t popped = total_popped(push->name, &persistent), unread;

	if (popped == UINT64_MAX || popped_before == UINT64_MAX || popped - popped_before >= push->messages)
		return;
	unread = push->messages - (popped - popped_before);
	complain("warning: %s%s of %s message%s %s read by nobody%s", popped == popped_before ? "" : "at least ",
		 unit_exact(unread).text, unit_exact(push->messages).text, plural(push->messages),
		 unread == 1 ? "was" : "were", persistent ? "" : " (a queue is removed with its last user)");
}

static void summarize(const struct push *push)
{
	double seconds = (double)(clock_ns() - push->begun_ns) / 1e9;

	if (seconds <= 0)
		seconds = 1e-9;
	complain("%s message%s, %s in %.3f s, %s/s; full %s time%s, %.0f%% of the time",
		 unit_exact(push->messages).text, plural(push->messages), unit_bytes((double)push->bytes).text, seconds,
		 unit_bytes((double)push->bytes / seconds).text, unit_exact(push->stalls).text, plural(push->stalls),
		 (double)push->stalled_ns / 1e7 / seconds);
}

static int run(struct push *push, const struct wish *wish)
{
	bool persistent;
	uint64_t popped_before;
	int code = wait_consumers(push, wish->wait);

	if (code != EXIT_DONE)
		return code;
	popped_before = total_popped(push->name, &persistent);
	progress_begin(push);
	if ((wish->lines ? push_lines(push) : push_blocks(push)) < 0) {
		if (signals_seen())
			progress_end(push);
		return EXIT_FAILED;
	}
	code = wait_drained(push);
	progress_end(push);
	if (wish->verbose)
		summarize(push);
	warn_of_unread(push, popped_before);
	return code;
}

int cmd_push(int argc, char **argv)
{
	struct wish wish = { .queue = { .size = sizeof wish.queue }, .wait = 1 };
	struct push push = { .show = isatty(STDERR_FILENO) };
	int code;

	if (!parse(argc, argv, &wish, &code))
		return code;
	push.name = argv[optind];
	if (!open_input(&push, wish.file))
		return EXIT_FAILED;
	signals_catch();
	code = open_queue(&push, &wish);
	if (code == EXIT_DONE) {
		signals_cancel(NULL, push.producer);
		code = signals_seen() ? EXIT_FAILED : run(&push, &wish);
		signals_cancel(NULL, NULL);
		if (code == EXIT_DONE)
			mqshm_producer_close(push.producer);
		else /* the readers shall not take a part for the whole */
			mqshm_producer_fail(push.producer);
	}
	return signals_end(code);
}
