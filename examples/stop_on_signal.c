/* SPDX-License-Identifier: MIT */
/*
 * Leaving on Ctrl-C: a signal handler that only sets a flag ends a wait with -EINTR; the program then closes its
 * handle as usual. (No function of the library may be called in the handler itself.)
 */
#include <errno.h>
#include <mqshm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct mqshm_queue_options queue = { .size = sizeof(queue), .block_size = 64 };
	struct mqshm_consumer *consumer;
	char name[64], data[64];
	ssize_t rc = 0;

	snprintf(name, sizeof(name), "stop-on-signal-%d", (int)getpid());
	if (mqshm_consumer_open(&consumer, name, &queue, NULL) < 0) {
		fprintf(stderr, "%s\n", mqshm_last_error());
		return 1;
	}
	sigaction(SIGINT, &action, NULL);

	if (fork() == 0) { /* somebody presses Ctrl-C a little later */
		usleep(120 * 1000);
		kill(getppid(), SIGINT);
		_exit(0);
	}

	/* A finite timeout: a signal that comes just before the wait sets the flag, but has no wait to interrupt. */
	while (!stop) {
		rc = mqshm_consumer_pop(consumer, data, sizeof(data), NULL, 200);
		if (rc < 0 && rc != -EINTR && rc != -ETIMEDOUT)
			break;
	}
	printf("stopped: %s\n", mqshm_last_error());
	mqshm_consumer_close(consumer);
	while (wait(NULL) > 0)
		;
	return stop && (rc == -EINTR || rc == -ETIMEDOUT) ? 0 : 1;
}
