/* SPDX-License-Identifier: MIT */
/* Reading the head of an object, and what stat shows of it, from a descriptor. */
#ifndef MQSHM_STAT_H
#define MQSHM_STAT_H

#include <sys/stat.h>

#include "backend.h"

struct mqshm_look {
	const char *name, *backend;
	int fd;
	uint64_t bytes; /* of the object; 0: as it says itself */
	struct stat st; /* whose it is */
	bool (*alive)(const struct mqshm_look *how, const struct mqshm_participant *participant, uint32_t i); /* NULL: all */
	uint64_t pid_namespace; /* for alive() */
};

/* Read and check the head of an object of that many bytes (0: as it says itself). -EBADMSG -EPROTONOSUPPORT -EFBIG */
int mqshm_read_info(int fd, const char *name, uint64_t bytes, struct mqshm_info *info);
int mqshm_look(const struct mqshm_look *how, struct mqshm_stat **out);

/* list.c: the names of all files of a backend, sorted: how many; *names freed with free(). */
int mqshm_names(const struct mqshm_backend *backend, char (**names)[MQSHM_NAME_MAX + 1]);

#endif
