/* SPDX-License-Identifier: MIT */
/*
 * Shared by the files of the kernel backend: queues of the module mqshm.ko, at /dev/mqshm/NAME. The module alone writes the
 * region info, ends the roles of the dead and wakes; the library maps what its role may see, each region by itself,
 * and sleeps and wakes by ioctls (futexes don't work on such pages). See abi.h.
 */
#ifndef MQSHM_KERNEL_H
#define MQSHM_KERNEL_H

#include <sys/ioctl.h>
#include <sys/stat.h>

#include "backend.h"
#include "error.h"
#include "log.h"

#define KERNEL_DIR "/dev/mqshm"
#define KERNEL_NAP_NS 1000000 /* before another look at a queue that comes or goes */
#define KERNEL_GIVE_UP_NS 5000000000u

struct kernel_mapping {
	struct mqshm_mapping base; /* first: backends cast */
	void *address; /* of the reservation that all regions are mapped into */
	size_t length;
	int fd;	       /* of the node, with our role */
	dev_t device;  /* what fd is, to tell whether it still is ours */
	ino_t inode;
};

static inline struct kernel_mapping *kernel(struct mqshm_mapping *m)
{
	return (struct kernel_mapping *)m;
}

/* kernel_object.c */
int kernel_probe(bool say);
int kernel_create(const char *name, const struct mqshm_queue_options *options, bool missing);
int kernel_remove(const char *name, unsigned flags);
/* Open the node of a name: descriptor >= 3. -ENOENT -EACCES -EBADMSG */
int kernel_open_node(const char *name, int flags, struct stat *st);

/* An open queue that nobody is attached to by fd yet. */
struct kernel_queue {
	int fd;
	int control; /* that it was created by, to be attached to: it goes when this is closed before; -1 */
	struct mqshm_info info; /* checked */
};
/* Open a queue that matches options, or create it. -EEXIST: it does not match */
int kernel_open(const char *name, const struct mqshm_queue_options *options, bool create, bool to_attach,
		struct kernel_queue *q);
void kernel_close(struct kernel_queue *q);
/* Its participants' table as it is now, to be freed with free(); NULL: no memory, or it can't be read. */
struct mqshm_participant *kernel_table(int fd, const struct mqshm_info *info);

/* kernel_attach.c */
int kernel_attach(const struct mqshm_attach *how, struct mqshm_mapping **out, struct mqshm_writer *writer,
		  struct mqshm_reader *reader);
int kernel_detach(struct mqshm_mapping *m, uint32_t how);
void kernel_forked(struct mqshm_mapping *m);
/* Is the descriptor still ours, or did this process close it, and is its number perhaps another file's now? */
bool kernel_has_fd(struct kernel_mapping *k);

/* kernel_wait.c */
uint32_t kernel_arm(struct mqshm_mapping *m, struct mqshm_armed *armed);
void kernel_wake_armed(struct mqshm_mapping *m, struct mqshm_armed *armed);
int kernel_sleep(struct mqshm_mapping *m, uint32_t *word, uint32_t value, uint64_t ns);
int kernel_sleep_for_data(struct mqshm_mapping *m, uint32_t value, uint64_t until, uint32_t epoch, uint64_t ns);
void kernel_wake(struct mqshm_mapping *m, uint32_t *word);
int kernel_descriptor(struct mqshm_mapping *m);
void kernel_sync(void *mapping); /* for struct mqshm_ring */

#endif
