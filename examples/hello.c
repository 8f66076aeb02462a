/* SPDX-License-Identifier: MIT */
/*
 * The smallest use: one process pushes three messages, another one pops them.
 *
 * Every function returns a negative errno value when it fails, and mqshm_last_error() says why in words.
 */
#include <errno.h>
#include <mqshm.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const words[] = { "hello", "shared", "world" };

static int consume(const char *name)
{
	struct mqshm_consumer_options options = {
		.size = sizeof(options),
		.start = MQSHM_FROM_OLDEST, /* also what was pushed before we came */
		.wait_ms = 1000,	    /* the producer may not have made the queue yet */
	};
	struct mqshm_consumer *consumer;
	struct mqshm_message message;
	char text[64];
	ssize_t size;
	int seen = 0, wrong = 0;

	if (mqshm_consumer_open(&consumer, name, NULL, &options) < 0) {
		fprintf(stderr, "consumer: %s\n", mqshm_last_error());
		return 1;
	}
	while ((size = mqshm_consumer_pop(consumer, text, sizeof(text), &message, 1000)) >= 0) {
		printf("message %d: %.*s\n", (int)message.sequence, (int)size, text);
		wrong += seen >= 3 || (size_t)size != strlen(words[seen]) ||
			 memcmp(text, words[seen], (size_t)size) != 0;
		seen++;
	}
	mqshm_consumer_close(consumer);
	/* -ESHUTDOWN is the normal end: the producer closed and everything is read. */
	return size == -ESHUTDOWN && seen == 3 && !wrong ? 0 : 1;
}

static int produce(const char *name)
{
	/* Options that are not given (0) have defaults: 1024 messages of up to 12,800 bytes. */
	struct mqshm_queue_options queue = { .size = sizeof(queue), .block_size = 64 };
	struct mqshm_producer *producer;

	if (mqshm_producer_open(&producer, name, &queue, NULL) < 0)
		goto failed;
	/* A queue goes away with its last user: don't leave before somebody has come. */
	if (mqshm_producer_wait_consumers(producer, 1, MQSHM_EVER, 1000) < 0)
		goto failed;
	for (int i = 0; i < 3; i++)
		if (mqshm_producer_push(producer, words[i], strlen(words[i]), 1000) < 0)
			goto failed;
	mqshm_producer_close(producer);
	return 0;

failed:
	fprintf(stderr, "producer: %s\n", mqshm_last_error());
	mqshm_producer_close(producer);
	return 1;
}

int main(void)
{
	char name[64];
	int status, result;

	snprintf(name, sizeof(name), "hello-%d", (int)getpid());
	if (fork() == 0)
		return consume(name);
	result = produce(name);
	wait(&status);
	return result || status;
}
