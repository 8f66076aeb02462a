/* SPDX-License-Identifier: MIT */
/*
 * Shows what happens when the object in /dev/shm is not what it should be: unlinked behind our back, truncated, foreign,
 * half made, of another ABI version; and when a process closes our descriptor.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "conformance/peers.h"
#include "mqshm/abi.h"

static const char *path_of(const char *name)
{
	static char path[100];

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", name);
	return path;
}

TEST(the_object_is_one_file_of_that_name_and_no_other)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	const char *name = test_queue("file");
	struct mqshm_producer *p;
	struct stat st;

	q.mode = 0604;
	umask(077);
	p = open_producer(name, &q);
	REQUIRE_EQ(stat(path_of(name), &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0604);
	CHECK((uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size); /* reserved whole */
	CHECK_EQ(STAT(name, total_bytes), st.st_size);
	EXPECT(mqshm_producer_close(p), 0);
	CHECK_EQ(access(path_of(name), F_OK), -1);
}

TEST(unlinked_behind_our_back)
{
	for (int round = 0; round < 4; round++) {
		struct mqshm_queue_options q = geometry(4, 8, round & 1 ? MQSHM_SHARED : 0);
		const char *name = test_queue("unlinked");
		struct mqshm_producer *p = open_producer(name, &q), *fresh;
		struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
		char out[8];

		for (int i = 0; i < 4; i++)
			MUST(mqshm_producer_push(p, "x", 1, 0), 0);
		REQUIRE_EQ(unlink(path_of(name)), 0);
		if (round < 2) { /* who waits notices */
			EXPECT(mqshm_producer_push(p, "y", 1, stall_ms()), -ESTALE);
			CHECK_STR(mqshm_last_error(), "unlinked");
			for (int i = 0; i < 4; i++)
				EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 1);
			EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms()), -ESTALE);
		} else {
			for (int i = 0; i < 4; i++)
				EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 1);
			EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms()), -ESTALE);
			CHECK_STR(mqshm_last_error(), "unlinked");
			EXPECT(mqshm_producer_push(p, "y", 1, stall_ms()), -ESTALE);
		}
		EXPECT(mqshm_producer_push(p, "y", 1, 0), -ESTALE);
		fresh = open_producer(name, &q); /* a new queue; the old handles don't touch it */
		EXPECT(mqshm_producer_close(p), 0);
		EXPECT(mqshm_consumer_close(c), 0);
		MUST(mqshm_producer_push(fresh, "z", 1, 0), 0);
		CHECK_EQ(STAT(name, producer_count), 1);
		EXPECT(mqshm_producer_close(fresh), 0);
		check_gone(name);
	}
}

/*
 * The consumer that notices can't end the producer's role, as one who has died, or stands still, was at it; and it leaves.
 * The producer waits for nobody any more.
 */
TEST(a_producer_without_consumers_notices_too)
{
	struct flock repair = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = MQSHM_LOCK_REPAIR(0), .l_len = 1 };

	for (int shared = 0; shared < 2; shared++) {
		struct mqshm_queue_options q = geometry(16, 8, shared ? MQSHM_SHARED : 0);
		const char *name = test_queue("alone");
		struct mqshm_producer *p = open_producer(name, &q);
		struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
		int fd = open(path_of(name), O_RDWR | O_CLOEXEC), rc = 0;
		char out[8];

		REQUIRE_EQ(fcntl(fd, F_OFD_SETLK, &repair), 0);
		REQUIRE_EQ(unlink(path_of(name)), 0);
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms()), -ESTALE);
		EXPECT(mqshm_consumer_close(c), 0);
		close(fd);
		for (int i = 0; i < 3 * 16 && !rc; i++)
			rc = CALL(mqshm_producer_push(p, "x", 1, 0));
		CHECK_EQ(rc, -ESTALE);
		CHECK_STR(mqshm_last_error(), "unlinked");
		EXPECT(mqshm_producer_close(p), 0);
	}
}

/* Whatever the call, there is no end of stream in a queue that is gone: the producer may live. */
TEST(gone_for_every_form_of_pop)
{
	for (int form = 0; form < 4; form++) {
		struct mqshm_queue_options q = geometry(4, 8, 0);
		const char *name = test_queue("gone");
		struct mqshm_producer *p = open_producer(name, &q);
		struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
		struct mqshm_message m[2];
		char out[32];

		REQUIRE_EQ(unlink(path_of(name)), 0);
		EXPECT(mqshm_producer_wait_consumers(p, 2, 0, stall_ms()), -ESTALE); /* notices, and ends its role */
		if (form == 0)
			EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), -ESTALE);
		else if (form == 1)
			EXPECT(mqshm_consumer_peek(c, m, 2, 0), -ESTALE);
		else
			EXPECT(mqshm_consumer_pop_batch(c, m, (size_t)form - 1, 2, out, sizeof out, 0), -ESTALE);
		EXPECT(mqshm_consumer_close(c), 0);
		EXPECT(mqshm_producer_close(p), 0);
	}
}

static void write_file(const char *name, const void *data, size_t size, off_t length)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC, 0600);

	REQUIRE(fd >= 0);
	REQUIRE_EQ(write(fd, data, size), size);
	REQUIRE_EQ(ftruncate(fd, length), 0);
	close(fd);
}

static void count_reports(const char *name, const char *what, void *arg)
{
	(void)name;
	CHECK(what[0] != 0);
	++*(int *)arg;
}

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
		CHECK((stat->error != 0) == (stat->error_text[0] != 0));
	}
	return 0;
}

/* Every way in gives the same error; nothing is changed until it is removed by force. */
static void refused_everywhere(const char *name, int error, const char *sentence)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct mqshm_consumer_options wait = { .size = sizeof wait, .wait_ms = 50 };
	struct found found = { .name = name };
	struct mqshm_producer *p = (void *)1;
	struct mqshm_consumer *c = (void *)1;
	struct mqshm_stat *s = (void *)1;
	int reports = 0;

	EXPECT(mqshm_producer_open(&p, name, NULL, NULL), error);
	CHECK_STR(mqshm_last_error(), sentence);
	CHECK_STR(mqshm_last_error(), name);
	CHECK(p == NULL);
	p = (void *)1;
	EXPECT(mqshm_producer_open(&p, name, &q, NULL), error);
	CHECK(p == NULL);
	EXPECT(mqshm_consumer_open(&c, name, NULL, &wait), error);
	CHECK(c == NULL);
	EXPECT(mqshm_queue_create(name, &q), error);
	EXPECT(mqshm_queue_stat(name, &s), error);
	CHECK(s == NULL);
	CHECK(CALL(mqshm_queue_list(find, &found)) >= 1);
	CHECK_EQ(found.count, 1);
	CHECK_EQ(found.error, error);
	EXPECT(mqshm_queue_gc(name, count_reports, &reports), 0);
	CHECK_EQ(reports, 1);
	EXPECT(mqshm_queue_remove(name, 0), error);
	CHECK_EQ(access(path_of(name), F_OK), 0);
	EXPECT(mqshm_queue_remove(name, MQSHM_FORCE), 0);
	CHECK_EQ(access(path_of(name), F_OK), -1);
	check_gone(name);
}

/* The image of a good queue. */
static size_t good_image(const char *name, void **image)
{
	struct mqshm_queue_options q = geometry(4, 8, MQSHM_PERSISTENT);
	struct stat st;
	int fd;

	MUST(mqshm_queue_create(name, &q), 0);
	fd = open(path_of(name), O_RDONLY);
	REQUIRE(fd >= 0 && !fstat(fd, &st));
	*image = malloc((size_t)st.st_size);
	REQUIRE(*image != NULL);
	REQUIRE_EQ(read(fd, *image, (size_t)st.st_size), st.st_size);
	close(fd);
	MUST(mqshm_queue_remove(name, 0), 0);
	return (size_t)st.st_size;
}

TEST(foreign_truncated_and_half_made_files)
{
	const char *name = test_queue("file");
	struct mqshm_info *info;
	void *image;
	size_t size = good_image(name, &image);
	static const char text[8192] = "this is a shopping list";

	info = image;
	write_file(name, "", 0, 0);
	refused_everywhere(name, -EBADMSG, "is not a queue");
	write_file(name, text, 20, 20);
	refused_everywhere(name, -EBADMSG, "is not a queue");
	write_file(name, text, sizeof text, 1 << 20);
	refused_everywhere(name, -EBADMSG, "magic");
	write_file(name, "", 0, 1 << 20); /* made, but nothing is written yet */
	refused_everywhere(name, -EBADMSG, "is not a queue");
	write_file(name, image, size, (off_t)size - 4096);
	refused_everywhere(name, -EBADMSG, "damaged");
	write_file(name, image, size, (off_t)size + 4096);
	refused_everywhere(name, -EBADMSG, "damaged");
	write_file(name, image, 2048, 2048);
	refused_everywhere(name, -EBADMSG, "damaged");
	info->nodes_offset = 1ull << 62;
	write_file(name, image, size, (off_t)size);
	refused_everywhere(name, -EBADMSG, "damaged");
	free(image);
	REQUIRE_EQ(mkdir(path_of(name), 0700), 0);
	EXPECT(mqshm_queue_create(name, NULL), -EBADMSG);
	CHECK_STR(mqshm_last_error(), "not a regular file");
	REQUIRE_EQ(rmdir(path_of(name)), 0);
	REQUIRE_EQ(symlink("/etc/passwd", path_of(name)), 0);
	refused_everywhere(name, -EBADMSG, "not a regular file");
	REQUIRE_EQ(mkfifo(path_of(name), 0600), 0);
	refused_everywhere(name, -EBADMSG, "not a regular file");
}

TEST(older_and_newer_abi_versions)
{
	const char *name = test_queue("abi");
	struct mqshm_info *info;
	void *image;
	size_t size = good_image(name, &image);

	info = image;
	for (uint32_t version = MQSHM_ABI_VERSION - 1; version <= MQSHM_ABI_VERSION + 1; version += 2) {
		char sentence[30];

		info->abi_version = version;
		write_file(name, image, size, (off_t)size);
		snprintf(sentence, sizeof sentence, "has ABI version %u", version);
		refused_everywhere(name, -EPROTONOSUPPORT, sentence);
	}
	info->abi_version = MQSHM_ABI_VERSION;
	write_file(name, image, size, (off_t)size);
	EXPECT(mqshm_queue_create(name, NULL), -EEXIST); /* good again, but another geometry */
	EXPECT(mqshm_queue_remove(name, 0), 0);
	free(image);
}

TEST(a_descriptor_that_was_closed_costs_the_role_and_no_more)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	const char *name = test_queue("closefrom");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	char out[8];
	int zero;

	for (int i = 0; i < 4; i++)
		MUST(mqshm_producer_push(p, "x", 1, 0), 0);
	REQUIRE_EQ(syscall(SYS_close_range, 3, ~0u, 0), 0);
	for (int i = 0; i < 20; i++) /* the numbers are somebody else's now */
		zero = open("/dev/zero", O_RDONLY);
	EXPECT(mqshm_producer_push(p, "x", 1, stall_ms()), -ESTALE);
	CHECK_STR(mqshm_last_error(), "closed by this process");
	for (int i = 0; i < 4; i++)
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 1);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms()), -ESTALE);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	CHECK_EQ(fcntl(zero, F_GETFD), 0);
	for (int i = 3; i <= zero; i++)
		CHECK_EQ(read(i, out, 1), 1); /* not one was closed in error */
	CHECK(CALL(mqshm_queue_gc(name, NULL, NULL)) >= -ENOENT);
	check_gone(name);
}

/* The same when nothing has noticed it before the handle is closed. */
TEST(closing_a_handle_closes_no_foreign_descriptor)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	const char *name = test_queue("foreign");
	struct mqshm_producer *p = open_producer(name, &q);
	int zero = -1;

	REQUIRE_EQ(syscall(SYS_close_range, 3, ~0u, 0), 0);
	for (int i = 0; i < 20; i++)
		zero = open("/dev/zero", O_RDONLY);
	EXPECT(mqshm_producer_close(p), 0);
	for (int i = 3; i <= zero; i++)
		CHECK(fcntl(i, F_GETFD) >= 0);
	CHECK(CALL(mqshm_queue_gc(name, NULL, NULL)) >= -ENOENT);
	check_gone(name);
}
