// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whose role it is, and how we learn of its end at once. The kernel wakes pid->wait_pidfd when the last thread of a process has
 * exited, whatever else still holds our file: a forked child, a receiver of the descriptor, a sibling that shares the
 * table. We hang a function into that queue. It is called with interrupts off below tasklist_lock, so the rest is a work.
 */
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "kmod.h"

static void owner_died(struct work_struct *work)
{
	struct mqshm_handle *h = container_of(work, struct mqshm_handle, died);

	role_owner_gone(h);
	handle_put(h);
}

static void queue_death(struct mqshm_handle *h)
{
	kref_get(&h->ref);
	if (!queue_work(mqshm_work, &h->died))
		refcount_dec(&h->ref.refcount); /* never the last: the file is still there, see kmod.h */
}

bool owner_is_gone(const struct mqshm_handle *h)
{
	struct task_struct *leader;
	struct mm_struct *mm;
	bool gone;

	rcu_read_lock();
	leader = pid_task(h->owner, PIDTYPE_TGID);
	if (!leader || leader->exit_state) {
		gone = !leader || thread_group_empty(leader);
	} else {
		mm = READ_ONCE(leader->mm); /* none: only this thread is ending */
		gone = mm && mm != h->mm;
	}
	rcu_read_unlock();
	return gone;
}

static int on_wake(wait_queue_entry_t *entry, unsigned int mode, int sync, void *key)
{
	struct mqshm_handle *h = container_of(entry, struct mqshm_handle, death);
	struct task_struct *leader = pid_task(h->owner, PIDTYPE_TGID);

	/* Newer kernels wake this queue for more than the end of the process. */
	if (leader && !(leader->exit_state && thread_group_empty(leader)))
		return 0;
	list_del_init(&entry->entry);
	queue_death(h);
	return 0;
}

void owner_watch(struct mqshm_handle *h)
{
	h->owner = get_pid(task_tgid(current));
	h->mm = current->mm;
	mmgrab(h->mm);
	INIT_WORK(&h->died, owner_died);
	init_waitqueue_func_entry(&h->death, on_wake);
	INIT_LIST_HEAD(&h->death.entry);
	add_wait_queue(&h->owner->wait_pidfd, &h->death);
}

void owner_unwatch(struct mqshm_handle *h)
{
	unsigned long flags;

	/* As remove_wait_queue(), but it may have removed itself. */
	spin_lock_irqsave(&h->owner->wait_pidfd.lock, flags);
	list_del_init(&h->death.entry);
	spin_unlock_irqrestore(&h->owner->wait_pidfd.lock, flags);
}

/*
 * The owner closes its descriptor, perhaps because it executes: from there it does not come back. So an exec is seen whoever else
 * keeps the file or the old address space, unless the descriptor survives the exec.
 */
void owner_flushes(struct mqshm_handle *h)
{
	/* with role_attach(): the owner of a role that is seen */
	if (smp_load_acquire(&h->role) && h->owner == task_tgid(current) && current->in_execve)
		role_owner_gone(h);
}

/*
 * A mapping goes, by munmap() or because the address space does. When the owner executes it has another one by then, be it
 * that it closes the old one itself, or that a sibling that shares it does so later.
 */
void owner_check_exec(struct mqshm_handle *h)
{
	if (owner_is_gone(h))
		queue_death(h);
}

bool handle_is_owner(const struct mqshm_handle *h)
{
	return h->owner == task_tgid(current) && h->mm == current->mm;
}
