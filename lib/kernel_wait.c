/* SPDX-License-Identifier: MIT */
/* Sleeping and waking by the module. None of this changes errno: a waker may be a signal handler. */
#include "kernel.h"

static uint32_t word_of(const struct mqshm_ring *r, const uint32_t *word)
{
	return word == &r->info->data.word ? MQSHM_WORD_DATA :
	       word == &r->info->room.word ? MQSHM_WORD_ROOM :
	       word == &r->info->event.word ? MQSHM_WORD_EVENT : MQSHM_WORD_LOCK;
}

/* The role may have ended: then the caller finds that out. */
static uint32_t tell(struct mqshm_mapping *m, unsigned long command, const uint32_t *word)
{
	struct mqshm_ioc_word w = { .size = sizeof w, .word = word_of(&m->ring, word) };
	int saved = errno;

	if (ioctl(kernel(m)->fd, command, &w))
		w.value = READ_ONCE(*word);
	errno = saved;
	return w.value;
}

uint32_t kernel_arm(struct mqshm_mapping *m, struct mqshm_armed *armed)
{
	return tell(m, MQSHM_IOC_ARM, &armed->word);
}

void kernel_wake_armed(struct mqshm_mapping *m, struct mqshm_armed *armed)
{
	tell(m, MQSHM_IOC_WAKE, &armed->word);
}

void kernel_wake(struct mqshm_mapping *m, uint32_t *word)
{
	tell(m, MQSHM_IOC_WAKE, word);
}

static int wait_as(struct mqshm_mapping *m, struct mqshm_ioc_wait *w)
{
	int saved = errno, rc = ioctl(kernel(m)->fd, MQSHM_IOC_WAIT, w) ? mqshm_errno() : 0;

	errno = saved;
	if (rc == -EINTR)
		return mqshm_error(rc, "interrupted by a signal");
	if (!mqshm_has_role(m))
		return mqshm_lost_role(m);
	if (rc && !kernel_has_fd(kernel(m)))
		return mqshm_error(-ESTALE, "the descriptor of queue '%s' was closed by this process (closefrom?)", m->name);
	return rc ? mqshm_error(rc, "queue '%s': the kernel module refuses to wait: %s", m->name, strerror(-rc)) : 0;
}

int kernel_sleep(struct mqshm_mapping *m, uint32_t *word, uint32_t value, uint64_t ns)
{
	return wait_as(m, &(struct mqshm_ioc_wait){
				  .size = sizeof(struct mqshm_ioc_wait), .word = word_of(&m->ring, word), .value = value, .ns = ns });
}

int kernel_sleep_for_data(struct mqshm_mapping *m, uint32_t value, uint64_t until, uint32_t epoch, uint64_t ns)
{
	return wait_as(m, &(struct mqshm_ioc_wait){
				  .size = sizeof(struct mqshm_ioc_wait), .word = MQSHM_WORD_DATA, .flags = MQSHM_IOC_FOR_DATA,
				  .value = value, .until = until, .epoch = epoch, .ns = ns });
}

int kernel_descriptor(struct mqshm_mapping *m)
{
	return kernel(m)->fd;
}

void kernel_sync(void *mapping)
{
	ioctl(((struct kernel_mapping *)mapping)->fd, MQSHM_IOC_SYNC);
}
