/* SPDX-License-Identifier: MIT */
/*
 * Damaged images at rest: every field of a queue object set to each of a table of nasty values, then everything that
 * opens it, by library and by tool. Each call works or gives a documented error with a sentence; none crashes, hangs or
 * takes memory as the file says; what can't be used can be removed by force. Files of every length, too.
 *
 * The short form takes a part of the pairs (field, value), by a printed seed; MQSHM_LONG=1 takes all.
 */
#define TEST_SECONDS 3000
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "conformance/peers.h"
#include "hostile/probes/places.h"

#define NODES 4
#define BLOCK 64
#define MESSAGES 3
#define CASE_SECONDS 60 /* all calls on one image take some ms */
#ifdef __SANITIZE_ADDRESS__
#define PART 128 /* of the pairs, in the short form */
#else
#define PART 32
#endif

static char case_name[200]; /* for messages */
static char made[64];	    /* the queue, removed whatever way the test ends */

#define WRONG(...) (TEST_FAIL(__VA_ARGS__), printf("# ... with %s\n", case_name))

static const char *path_of(const char *name)
{
	static char path[100];

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", name);
	return path;
}

static void too_slow(int signal_number)
{
	static const char text[] = "# hangs with ";

	(void)signal_number;
	(void)!write(STDOUT_FILENO, text, sizeof text - 1);
	(void)!write(STDOUT_FILENO, case_name, strlen(case_name));
	(void)!write(STDOUT_FILENO, "\n", 1);
	unlink(path_of(made));
	_exit(1);
}

static void clean_up(void)
{
	unlink(path_of(made));
}

struct image {
	char name[64];
	unsigned char *good, *bytes;
	size_t size;
	struct mqshm_info plan;
	struct places places;
};

/* A queue with some messages, a consumer that read one, and nobody there. */
static void make_image(struct image *image, uint32_t flags)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, flags | MQSHM_PERSISTENT);
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	char out[BLOCK];
	int fd;

	q.max_consumers = 3;
	q.metadata = "m";
	q.metadata_size = 1;
	snprintf(image->name, sizeof image->name, "%s", test_queue("image"));
	memcpy(made, image->name, sizeof made);
	atexit(clean_up);
	signal(SIGALRM, too_slow);
	p = open_producer(image->name, &q);
	c = open_consumer(image->name, NULL, MQSHM_FROM_LATEST, 0);
	for (int i = 0; i < NODES + MESSAGES; i++) {
		MUST(mqshm_producer_push(p, "0123456789012345678901234567890123456789", (size_t)(20 + i), 0), 0);
		if (i < NODES)
			MUST(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 20 + i);
	}
	MUST(mqshm_consumer_close(c), 0);
	MUST(mqshm_producer_close(p), 0);
	fd = open(path_of(image->name), O_RDONLY | O_CLOEXEC);
	REQUIRE(fd >= 0);
	REQUIRE_EQ(pread(fd, &image->plan, sizeof image->plan, 0), sizeof image->plan);
	image->size = image->plan.total_bytes;
	image->good = malloc(image->size);
	image->bytes = malloc(image->size);
	REQUIRE(image->good && image->bytes);
	REQUIRE_EQ(pread(fd, image->good, image->size, 0), image->size);
	close(fd);
	MUST(mqshm_queue_remove(image->name, 0), 0);
	places_of_object(&image->places, &image->plan, 2, 40, true);
}

static void put(const struct image *image, size_t size, off_t length)
{
	int fd = open(path_of(image->name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	REQUIRE(fd >= 0);
	REQUIRE_EQ(write(fd, image->bytes, size), size);
	REQUIRE_EQ(ftruncate(fd, length), 0);
	close(fd);
}

/* rc is at least 0 or one of errors (0 ends them), and then there is a sentence. True: it worked. */
static bool judge(const char *what, long long rc, const int *errors)
{
	if (rc >= 0)
		return true;
	if (rc != -EAGAIN && !is_sentence(mqshm_last_error()))
		WRONG("%s gives %lld without a sentence", what, rc);
	for (; *errors; errors++)
		if (rc == *errors)
			return false;
	WRONG("%s gives %lld (%s), which is not documented", what, rc, mqshm_last_error());
	return false;
}

#define ERRORS(...) ((const int[]){ __VA_ARGS__, 0 })
#define JUDGE(call, ...) judge(#call, CALL(call), ERRORS(__VA_ARGS__))
#define READING -ESHUTDOWN, -EOWNERDEAD, -ESTALE, -EBADMSG, -ECONNABORTED

struct found {
	const char *name;
	int error, count;
};

static int find(const struct mqshm_stat *stat, void *arg)
{
	struct found *found = arg;

	if (!strcmp(stat->name, found->name)) {
		found->error = stat->error;
		found->count++;
		if (stat->error && !is_sentence(stat->error_text))
			WRONG("list gives %d without a sentence", stat->error);
	}
	return 0;
}

static void look(const struct image *image, bool list_too)
{
	struct mqshm_stat *s = NULL;
	struct found found = { .name = image->name };
	int rc = mqshm_queue_stat(image->name, &s);

	if (judge("stat", rc, ERRORS(-EBADMSG, -EPROTONOSUPPORT))) {
		if (s->metadata_size > MQSHM_METADATA_MAX || s->producer_count > s->max_producers ||
		    s->consumer_count > s->max_consumers || s->depth > s->total_pushed || s->kept > s->node_count ||
		    s->blocked_by >= (int32_t)s->max_consumers || memchr(s->name, 0, sizeof s->name) == NULL)
			WRONG("stat gives what can't be");
		for (uint32_t i = 0; i < s->consumer_count; i++)
			if (s->consumers[i].id >= s->max_consumers || s->consumers[i].lag > s->total_pushed ||
			    !memchr(s->consumers[i].comm, 0, sizeof s->consumers[i].comm))
				WRONG("stat gives a consumer that can't be");
	}
	mqshm_stat_free(s);
	if (!list_too)
		return;
	JUDGE(mqshm_queue_list(find, &found), -ENOMEM);
	if (found.count != 1 || found.error != rc)
		WRONG("list has it %d times, error %d; stat said %d", found.count, found.error, rc);
}

static void read_it(const struct image *image, uint32_t flags, int start)
{
	struct mqshm_consumer_options options = { .size = sizeof options, .start = start, .flags = flags };
	struct mqshm_consumer *c = (void *)1;
	struct mqshm_queue_info info;
	struct mqshm_message m[2];
	unsigned char out[BLOCK];
	long long rc = mqshm_consumer_open(&c, image->name, NULL, &options);

	if (!judge("open a consumer", rc, ERRORS(-EBADMSG, -EPROTONOSUPPORT, -ENOENT, -EBUSY))) {
		if (c)
			WRONG("a handle besides the error %lld", rc);
		return;
	}
	JUDGE(mqshm_consumer_info(c, &info), -ECHILD);
	if (mqshm_consumer_lag(c) < 0 || mqshm_consumer_missed(c) < 0)
		WRONG("lag %lld, missed %lld", (long long)mqshm_consumer_lag(c), (long long)mqshm_consumer_missed(c));
	for (int i = 0; i < 2 * NODES; i++) {
		rc = mqshm_consumer_peek(c, m, 2, 0);
		if (judge("peek", rc, ERRORS(READING, -EAGAIN)))
			for (long long n = 0; n < rc; n++) {
				if (m[n].size > BLOCK)
					WRONG("a message of %zu bytes", m[n].size);
				else
					memcpy(out, m[n].data, m[n].size);
			}
		rc = mqshm_consumer_pop(c, out, sizeof out, m, 0);
		if (!judge("pop", rc, ERRORS(READING, -EAGAIN)))
			break;
		if (rc > BLOCK || m[0].size != (size_t)rc)
			WRONG("pop gives %lld and size %zu", rc, m[0].size);
	}
	if (rc >= 0)
		WRONG("there is no end of messages");
	JUDGE(mqshm_consumer_pop(c, out, sizeof out, NULL, 1), READING, -ETIMEDOUT);
	JUDGE(mqshm_consumer_close(c), -ECHILD);
}

static void write_it(const struct image *image)
{
	struct mqshm_producer *p = (void *)1;
	void *room;
	long long rc = mqshm_producer_open(&p, image->name, NULL, NULL);

	if (!judge("open a producer", rc, ERRORS(-EBADMSG, -EPROTONOSUPPORT, -ENOENT, -EBUSY))) {
		if (p)
			WRONG("a handle besides the error %lld", rc);
		return;
	}
	for (int i = 0; i < 2 * NODES; i++)
		if (!JUDGE(mqshm_producer_push(p, case_name, BLOCK, 0), -EAGAIN, -EMSGSIZE, -ESTALE, -EBADMSG, -EOVERFLOW))
			break;
	JUDGE(mqshm_producer_push(p, case_name, BLOCK, 1), -ETIMEDOUT, -EMSGSIZE, -ESTALE, -EBADMSG, -EOVERFLOW);
	if (JUDGE(mqshm_producer_reserve(p, BLOCK, &room, 0), -EAGAIN, -EMSGSIZE, -ESTALE, -EBADMSG, -EOVERFLOW)) {
		memset(room, 1, BLOCK);
		JUDGE(mqshm_producer_commit(p, 7), -ESTALE);
	}
	JUDGE(mqshm_producer_wait_consumers(p, 1, 0, 0), -EAGAIN, -ESTALE);
	JUDGE(mqshm_producer_wait_drained(p, 0), -EAGAIN, -ESTALE);
	JUDGE(mqshm_producer_close(p), -ECHILD);
}

/*
 * The tool: 0, or 1 with one line that says what is wrong. A push that waits for ever, for a consumer that a wild value
 * invents, ends when it is told to.
 */
static void run_tool(const char *const *arguments, const char *input)
{
	const char *build = getenv("BUILD");
	char tool[200], said[4096] = "";
	int errors[2], status = -1;
	struct pollfd ready;
	size_t have = 0;
	ssize_t n;
	pid_t pid;

	snprintf(tool, sizeof tool, "%s/mqshm", build ? build : "build");
	REQUIRE_EQ(pipe(errors), 0);
	ready = (struct pollfd){ .fd = errors[0], .events = POLLIN };
	pid = fork();
	if (pid == 0) {
		int in = open(input, O_RDONLY), out = open("/dev/null", O_WRONLY);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in, 0);
		dup2(out, 1);
		dup2(errors[1], 2);
		close(errors[0]);
		close(errors[1]);
		execv(tool, (char *const *)(uintptr_t)arguments);
		_exit(127);
	}
	REQUIRE(pid > 0);
	close(errors[1]);
	if (poll(&ready, 1, 1000) == 0)
		kill(pid, SIGTERM);
	while (have < sizeof said - 1 && (n = read(errors[0], said + have, sizeof said - 1 - have)) > 0)
		have += (size_t)n;
	close(errors[0]);
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)
		return;
	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
		WRONG("mqshm %s ended with status 0x%x: %s", arguments[1], (unsigned)status, said);
	else if (WEXITSTATUS(status) == 1 && (strncmp(said, "mqshm ", 6) || said[have - 1] != '\n'))
		WRONG("mqshm %s says '%s'", arguments[1], said);
}

#define TOOL(input, ...) run_tool((const char *const[]){ "mqshm", __VA_ARGS__, NULL }, input)

static void use_tool(const struct image *image)
{
	put(image, image->size, (off_t)image->size);
	TOOL("/dev/null", "stat", image->name);
	TOOL("/dev/null", "stat", image->name, "--json");
	TOOL("/dev/null", "pop", image->name, "--timeout", "0");
	put(image, image->size, (off_t)image->size);
	TOOL("README.md", "push", image->name, "--wait", "0");
	TOOL("/dev/null", "gc", image->name);
	TOOL("/dev/null", "rm", image->name);
	TOOL("/dev/null", "rm", "--force", image->name);
}

/* Everything that opens an image; each gets it fresh. */
static void use(const struct image *image, off_t length, bool more, bool tool)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, MQSHM_ANY_FLAGS);
	size_t size = (uint64_t)length < image->size ? (size_t)length : image->size;

	alarm(CASE_SECONDS);
	put(image, size, length);
	look(image, more);
	read_it(image, 0, MQSHM_FROM_OLDEST);
	put(image, size, length);
	read_it(image, MQSHM_LOSSY, MQSHM_FROM_BEGINNING);
	put(image, size, length);
	write_it(image);
	put(image, size, length);
	JUDGE(mqshm_queue_create(image->name, &q), -EEXIST, -EBADMSG, -EPROTONOSUPPORT);
	JUDGE(mqshm_queue_gc(image->name, NULL, NULL), -ENOENT);
	JUDGE(mqshm_queue_remove(image->name, 0), -ENOENT, -EBADMSG, -EPROTONOSUPPORT);
	JUDGE(mqshm_queue_remove(image->name, MQSHM_FORCE), -ENOENT);
	if (!access(path_of(image->name), F_OK))
		WRONG("the file is still there");
	if (tool)
		use_tool(image);
	unlink(path_of(image->name));
}

static void every_field(uint32_t flags)
{
	struct image image = { .size = 0 };
	uint64_t seed = test_seed();
	bool all = getenv("MQSHM_LONG") != NULL, tool;
	unsigned tried = 0, by_tool = 0;

	make_image(&image, flags);
	for (size_t i = 0; i < image.places.count; i++)
		for (size_t n = 0; n < PLACE_VALUES; n++) {
			const struct place *place = &image.places.at[i];
			uint64_t value, now = 0, dice = test_random(&seed);

			if (!all && dice % PART)
				continue;
			memcpy(image.bytes, image.good, image.size);
			memcpy(&now, image.bytes + place->offset, place->size);
			value = place_value(n, now, &image.plan);
			memcpy(image.bytes + place->offset, &value, place->size);
			snprintf(case_name, sizeof case_name, "%s = %#" PRIx64 " (flags %#x)", place->name, value, flags);
			tool = all ? n % 8 == 0 : (dice >> 9) % 16 == 0;
			use(&image, (off_t)image.size, all || dice >> 8 & 1, tool);
			tried++;
			by_tool += tool;
			if (test_failures > 20)
				exit(1);
		}
	printf("# %u images of %zu, %u of them by the tool too\n", tried, image.places.count * PLACE_VALUES, by_tool);
}

TEST(every_field_of_an_exclusive_queue)
{
	every_field(0);
}

TEST(every_field_of_a_shared_queue)
{
	every_field(MQSHM_SHARED);
}

TEST(every_field_of_an_overwriting_queue)
{
	every_field(MQSHM_OVERWRITE);
}

TEST(every_field_of_a_queue_with_hold)
{
	every_field(MQSHM_HOLD);
}

TEST(files_of_every_length)
{
	struct image image = { .size = 0 };
	off_t lengths[200];
	size_t count = 0;

	make_image(&image, 0);
	memcpy(image.bytes, image.good, image.size);
	for (int d = -1; d <= 1; d++) {
		const off_t edges[] = { 1, 8, sizeof(struct mqshm_info), (off_t)image.plan.producer_offset,
					(off_t)image.plan.consumers_offset, (off_t)image.plan.nodes_offset,
					(off_t)image.size, (off_t)image.size - 4096, (off_t)image.size + 4096, 1 << 20,
					1ll << 32, 1ll << 40 };

		for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
			lengths[count++] = edges[i] + d;
	}
	for (size_t i = 0; i < count; i++) {
		snprintf(case_name, sizeof case_name, "a file of %lld bytes of %zu", (long long)lengths[i], image.size);
		use(&image, lengths[i], true, false);
	}
}

/* The file says how large things are, and nearly all of it is a hole: whoever looks at it must not take that memory. */
TEST(a_huge_sparse_file_costs_no_memory)
{
	struct image image = { .size = 0 };
	struct mqshm_info *info;
	struct rlimit limit;

	make_image(&image, 0);
	info = (void *)image.bytes;
	for (int kind = 0; kind < 5; kind++) {
		uint64_t more = 1ull << 36;
		__u64 *offset;
		struct mqshm_stat *s = NULL;
		int rc;

		memcpy(image.bytes, image.good, image.size);
		snprintf(case_name, sizeof case_name, "sparse file, kind %d", kind);
		offset = kind == 0 ? &info->nodes_offset : kind == 1 ? &info->consumers_offset : &info->producer_offset;
		if (kind < 3) { /* a region starts 64 GiB further on, and those behind it too */
			for (__u64 *o = offset; o <= &info->nodes_offset; o++)
				*o += more;
			info->total_bytes += more;
		} else if (kind == 3) { /* a very large ring */
			info->ring_bytes += more;
			info->total_bytes += more;
		} else { /* the largest areas */
			info->consumer_stride = 1 << 20;
			info->max_consumers = 256;
			info->nodes_offset = info->consumers_offset + (256 << 20);
			info->total_bytes = info->nodes_offset + info->ring_bytes;
		}
		put(&image, image.size, (off_t)info->total_bytes);
		REQUIRE_EQ(getrlimit(RLIMIT_AS, &limit), 0);
		limit.rlim_cur = 128 << 20;
		REQUIRE_EQ(setrlimit(RLIMIT_AS, &limit), 0);
		rc = mqshm_queue_stat(image.name, &s);
		if (rc == -ENOMEM)
			WRONG("stat asks for as much memory as the file says");
		else
			judge("stat", rc, ERRORS(-EBADMSG));
		mqshm_stat_free(s);
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_AS, &limit);
		EXPECT(mqshm_queue_remove(image.name, MQSHM_FORCE), 0);
	}
}

/* What else can have such a name. Fifos, links to files and foreign files: tests/conformance/posix_object.c. */
TEST(no_files_at_all)
{
	const char *name = test_queue("thing");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct mqshm_stat *s = NULL;
	struct mqshm_producer *p;
	struct mqshm_queue_options q = geometry(4, 8, 0);
	char target[100];
	int fd;

	REQUIRE_EQ(mkdir(path_of(name), 0700), 0);
	EXPECT(mqshm_queue_stat(name, &s), -EBADMSG);
	EXPECT(mqshm_queue_gc(name, NULL, NULL), 0);
	EXPECT(mqshm_queue_remove(name, 0), -EBADMSG);
	EXPECT(mqshm_queue_remove(name, MQSHM_FORCE), -EBADMSG);
	CHECK_STR(mqshm_last_error(), "directory");
	REQUIRE_EQ(rmdir(path_of(name)), 0);

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path_of(name));
	REQUIRE_EQ(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	EXPECT(mqshm_queue_stat(name, &s), -EBADMSG);
	EXPECT(mqshm_producer_open(&p, name, &q, NULL), -EBADMSG);
	EXPECT(mqshm_queue_remove(name, MQSHM_FORCE), 0);
	close(fd);

	REQUIRE_EQ(symlink("nowhere", path_of(name)), 0); /* a link to nothing is not "no queue" */
	EXPECT(mqshm_queue_stat(name, &s), -EBADMSG);
	EXPECT(mqshm_producer_open(&p, name, &q, NULL), -EBADMSG);
	EXPECT(mqshm_queue_remove(name, MQSHM_FORCE), 0);

	snprintf(target, sizeof target, "mqshm.%s", test_queue("real")); /* a link to a good queue neither */
	MUST(mqshm_queue_create(target + 6, &q), 0);
	REQUIRE_EQ(symlink(target, path_of(name)), 0);
	EXPECT(mqshm_queue_stat(name, &s), -EBADMSG);
	EXPECT(mqshm_queue_remove(name, MQSHM_FORCE), 0);
	EXPECT(mqshm_queue_stat(target + 6, &s), 0);
	mqshm_stat_free(s);
	EXPECT(mqshm_queue_remove(target + 6, 0), 0);
}

/*
 * Who maps an object that a peer truncates is killed (SIGBUS): docs/design.md says so, nothing in posix prevents it. Who
 * only looks reads with pread(), and lives.
 */
TEST(truncating_a_live_object)
{
	struct mqshm_queue_options q = geometry(64, 4000, 0);
	const char *name = test_queue("cut");
	struct mqshm_producer *p = open_producer(name, &q);
	struct stat st;
	int fd = open(path_of(name), O_RDWR | O_CLOEXEC), status = 0;
	pid_t pid;

	REQUIRE(fd >= 0 && !fstat(fd, &st));
	pid = fork();
	if (pid == 0) {
		struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
		char out[4000];

		for (;;)
			if (mqshm_consumer_pop(c, out, sizeof out, NULL, 1000) < 0)
				ftruncate(fd, 0);
	}
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);

	pid = fork(); /* cut and mended all the time ... */
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			if (ftruncate(fd, 3000) || ftruncate(fd, st.st_size))
				_exit(1);
	}
	for (int i = 0; i < 2000; i++) { /* ... while others look */
		struct mqshm_stat *s = NULL;
		int rc = mqshm_queue_stat(name, &s);

		if (rc && rc != -EBADMSG)
			TEST_FAIL("stat gives %d: %s", rc, mqshm_last_error());
		mqshm_stat_free(s);
	}
	kill_now(pid);
	unlink(path_of(name));
	close(fd);
	(void)p; /* its mapping is of no use any more */
}
