/* SPDX-License-Identifier: MIT */
/* Watching /dev/shm: who lives is told by locks, and by /proc. */
#include "posix.h"
#include "watch.h"

static bool alive(int fd, const struct mqshm_participant *participant, uint32_t i, bool processes,
		  uint64_t pid_namespace)
{
	return processes ? posix_alive(fd, participant, i, pid_namespace) : posix_is_locked(fd, i, participant->state);
}

int posix_watch_begin(struct mqshm_watch *w)
{
	static const struct watch_place place = {
		.backend = &mqshm_backend_posix,
		.open_file = posix_open_object,
		.alive = alive,
		.pid_namespace = posix_pid_namespace,
	};

	return watch_files_begin(w, &place);
}
