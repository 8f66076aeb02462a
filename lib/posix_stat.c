/* SPDX-License-Identifier: MIT */
/* What stat shows of an object in /dev/shm. */
#include <fcntl.h>
#include <unistd.h>

#include "posix.h"
#include "stat.h"

static bool alive(const struct mqshm_look *how, const struct mqshm_participant *participant, uint32_t i)
{
	return posix_alive(how->fd, participant, i, how->pid_namespace);
}

int posix_stat(const char *name, struct mqshm_stat **out)
{
	struct mqshm_look how = { .name = name, .backend = "posix", .alive = alive, .pid_namespace = posix_pid_namespace() };
	int rc;

	how.fd = posix_open_object(name, O_RDONLY, &how.st);
	if (how.fd < 0)
		return how.fd;
	how.bytes = (uint64_t)how.st.st_size;
	rc = mqshm_look(&how, out);
	close(how.fd);
	return rc;
}
