/* SPDX-License-Identifier: MIT */
/*
 * A batch of messages to stdout: raw, as lines or as JSON. Called by cmd_pop.c and cmd_merge.c, which release only the messages that
 * are reported as written whole: so a full disk or a closed pipe loses nothing that is still in the queue.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pop.h"

#define JSON_FRAME 240 /* an object without its data: three numbers of up to 20 digits, a queue's name, and the keys */

static int after_failed_write(void)
{
	struct pollfd fd = { .fd = STDOUT_FILENO, .events = POLLOUT };

	if (errno == EAGAIN) /* somebody made it non-blocking */
		poll(&fd, 1, WAIT_SLICE_MS);
	else if (errno != EINTR)
		return -errno;
	return signals_seen() ? -EINTR : 0;
}

/* All of pieces, of which each message has per; *written counts the messages. */
static int write_pieces(struct iovec *pieces, size_t count, size_t per, size_t *written)
{
	size_t at = 0;

	while (at < count) {
		ssize_t put = writev(STDOUT_FILENO, pieces + at, (int)(count - at));
		int result = put < 0 ? after_failed_write() : 0;

		if (result)
			return result;
		for (; at < count && put >= (ssize_t)pieces[at].iov_len; at++)
			put -= (ssize_t)pieces[at].iov_len;
		if (at < count && put > 0) {
			pieces[at].iov_base = (char *)pieces[at].iov_base + put;
			pieces[at].iov_len -= (size_t)put;
		}
		*written = at / per;
	}
	return 0;
}

static bool json_make_room(struct pop_writer *writer, const struct mqshm_message *messages, size_t count)
{
	size_t need = 0;
	char *larger;

	for (size_t i = 0; i < count; i++)
		need += JSON_FRAME + base64_size(messages[i].size);
	if (need <= writer->json_room)
		return true;
	larger = realloc(writer->json, need);
	if (!larger)
		return false;
	writer->json = larger;
	writer->json_room = need;
	return true;
}

/* The length of the object of one message, with its newline. */
static size_t json_object(char *to, const char *queue, const struct mqshm_message *message)
{
	size_t length = (size_t)snprintf(to, JSON_FRAME,
					 "{%s%s%s\"sequence\":%" PRIu64 ",\"timestamp_ns\":%" PRIu64 ",\"size\":%zu,\"data_base64\":\"",
					 queue ? "\"queue\":\"" : "", queue ? queue : "", queue ? "\"," : "",
					 message->sequence, message->timestamp_ns, message->size);

	length += base64_encode(to + length, message->data, message->size);
	memcpy(to + length, "\"}\n", 3);
	return length + 3;
}

static int write_json(struct pop_writer *writer, const struct mqshm_message *messages, size_t count, size_t *written)
{
	struct iovec pieces[POP_BATCH];
	char *to;

	if (!json_make_room(writer, messages, count))
		return -ENOMEM;
	to = writer->json;
	for (size_t i = 0; i < count; i++) {
		pieces[i] = (struct iovec){ to, json_object(to, writer->queue, &messages[i]) };
		to += pieces[i].iov_len;
	}
	return write_pieces(pieces, count, 1, written);
}

int pop_write(struct pop_writer *writer, const struct mqshm_message *messages, size_t count, size_t *written)
{
	struct iovec pieces[2 * POP_BATCH];
	static char newline = '\n';
	size_t per = writer->format == POP_LINES ? 2 : 1;

	*written = 0;
	if (writer->format == POP_JSON)
		return write_json(writer, messages, count, written);
	for (size_t i = 0; i < count; i++) {
		pieces[i * per] = (struct iovec){ (void *)(uintptr_t)messages[i].data, messages[i].size };
		if (per == 2)
			pieces[i * per + 1] = (struct iovec){ &newline, 1 };
	}
	return write_pieces(pieces, count * per, per, written);
}
