/* SPDX-License-Identifier: MIT */
/*
 * SIGINT, SIGTERM and SIGHUP as a flag, so that push and pop close their handle before they end. A signal can come
 * just before a wait begins. One for a queue is cancelled; for a read, a write, or a queue that is not there yet the handler
 * starts an alarm that interrupts again each second, until the flag is looked at. Signals that were ignored from the start (nohup) stay so.
 */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "tool.h"

static volatile sig_atomic_t seen; /* written by the handler only */

static struct mqshm_consumer *volatile consumer; /* to be cancelled */
static struct mqshm_producer *volatile producer;

static void note_signal(int signal_number)
{
	if (signal_number != SIGALRM) {
		seen = signal_number;
		if (consumer)
			mqshm_consumer_cancel(consumer);
		if (producer)
			mqshm_producer_cancel(producer);
	}
	alarm(1);
}

static void catch_signal(int signal_number)
{
	struct sigaction action = { .sa_handler = note_signal }, old; /* no SA_RESTART: calls shall return */

	sigemptyset(&action.sa_mask);
	if (!sigaction(signal_number, NULL, &old) && old.sa_handler != SIG_IGN)
		sigaction(signal_number, &action, NULL);
}

void signals_catch(void)
{
	sigset_t alarm_set;

	signal(SIGALRM, SIG_DFL);
	sigemptyset(&alarm_set);
	sigaddset(&alarm_set, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarm_set, NULL);
	catch_signal(SIGALRM);
	catch_signal(SIGINT);
	catch_signal(SIGTERM);
	catch_signal(SIGHUP);
}

void signals_cancel(struct mqshm_consumer *its_consumer, struct mqshm_producer *its_producer)
{
	consumer = its_consumer;
	producer = its_producer;
}

int signals_seen(void)
{
	return seen;
}

/* Ends by the signal itself: a shell then shows 128 + signal and stops its loop too. */
int signals_end(int code)
{
	if (!seen)
		return code;
	alarm(0);
	fflush(stdout);
	signal(seen, SIG_DFL);
	raise(seen);
	return 128 + seen;
}
