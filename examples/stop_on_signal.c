/* SPDX-License-Identifier: MIT */
/*
 * Leaving on Ctrl-C: the signal handler cancels the handle, so the wait ends, or the next one does if the signal came
 * just before it. The program then closes its handle as usual. (No other function may be called in a handler.)
 */
#include <errno.h>
#include <mqshm.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static struct mqshm_consumer *consumer; /* there before the handler is set, and closed after it is taken back */

static void on_signal(int number)
{
	(void)number;
	mqshm_consumer_cancel(consumer);
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct mqshm_queue_options queue = { .size = sizeof(queue), .block_size = 64 };
	char name[64], data[64];
	ssize_t rc;

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

	/* A signal that comes while it sleeps ends the wait itself; the cancel is then still there for the next one. */
	do
		rc = mqshm_consumer_pop(consumer, data, sizeof(data), NULL, -1);
	while (rc >= 0 || rc == -EINTR);
	printf("stopped: %s\n", mqshm_last_error());
	signal(SIGINT, SIG_DFL);
	mqshm_consumer_close(consumer);
	while (wait(NULL) > 0)
		;
	return rc == -ECANCELED ? 0 : 1;
}
