// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a role may see and write. A mapping is of exactly one region; its pages come by faults, each of which looks whether the
 * role is still there. Pages are put in under queue->maps, so that after handle_revoke() no writable one can appear.
 */
#include <linux/mm.h>
#include <linux/sched.h>

#include "kmod.h"

#define AROUND 16 /* pages put in by one fault */

struct region {
	u64 offset, bytes;
	bool write;
};

/* The region of a role that begins at an offset, and with that length. */
static bool find_region(const struct mqshm_handle *h, u64 offset, u64 bytes, struct region *r)
{
	const struct mqshm_info *info = h->queue->info;
	bool producer = h->role == MQSHM_IOC_PRODUCER;
	struct region regions[] = {
		{ 0, info->producer_offset, false },
		{ info->producer_offset, info->consumers_offset - info->producer_offset, producer },
		{ info->consumers_offset, info->nodes_offset - info->consumers_offset, false },
		{ info->nodes_offset, info->ring_bytes, producer },
	};

	if (!producer)
		regions[2] = (struct region){ info->consumers_offset + (h->slot - info->max_producers) * (u64)PAGE_SIZE,
					      PAGE_SIZE, true };
	for (int i = 0; i < ARRAY_SIZE(regions); i++)
		if (regions[i].offset == offset && regions[i].bytes == bytes) {
			*r = regions[i];
			return true;
		}
	return false;
}

static bool is_writable(const struct vm_area_struct *vma)
{
	return vma->vm_flags & (VM_WRITE | VM_MAYWRITE);
}

static vm_fault_t fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct mqshm_handle *h = vma->vm_file->private_data;
	struct mqshm_queue *q = h->queue;
	unsigned long address = vmf->address & PAGE_MASK, at = vmf->pgoff, last;
	int rc = 0;

	down_read(&q->maps);
	last = min(at + AROUND, vma->vm_pgoff + vma_pages(vma));
	if (h->gone || at >= q->page_count)
		rc = -EFAULT;
	else if (h->ended && is_writable(vma))
		rc = vm_insert_page(vma, address, h->dummy);
	else
		for (; at < last && (!rc || rc == -EBUSY); at++, address += PAGE_SIZE) {
			rc = vm_insert_page(vma, address, q->pages[at]);
			if (at > vmf->pgoff && rc) { /* only the first one was asked for */
				rc = 0;
				break;
			}
		}
	up_read(&q->maps);
	if (rc == -EBUSY) /* another thread's fault has put it in */
		rc = 0;
	return rc == -ENOMEM ? VM_FAULT_OOM : rc ? VM_FAULT_SIGBUS : VM_FAULT_NOPAGE;
}

static void mapping_open(struct vm_area_struct *vma)
{
	struct mqshm_handle *h = vma->vm_file->private_data;

	if (is_writable(vma))
		atomic_inc(&h->writable);
}

static void mapping_close(struct vm_area_struct *vma)
{
	struct mqshm_handle *h = vma->vm_file->private_data;

	if (is_writable(vma))
		atomic_dec(&h->writable);
	owner_check_exec(h);
}

static const struct vm_operations_struct mapping_operations = {
	.open = mapping_open,
	.close = mapping_close,
	.fault = fault,
};

int handle_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mqshm_handle *h = file->private_data;
	struct mqshm_queue *q = h->queue;
	struct region r;
	int rc = 0;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	down_read(&q->maps);
	if (!h->role || !handle_is_owner(h))
		rc = -EPERM;
	else if (h->ended)
		rc = -ESTALE;
	else if (!find_region(h, (u64)vma->vm_pgoff << PAGE_SHIFT, vma->vm_end - vma->vm_start, &r))
		rc = -EINVAL;
	else if (!r.write && vma->vm_flags & VM_WRITE)
		rc = -EACCES;
	if (!rc) {
		vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY | VM_MIXEDMAP);
		vm_flags_clear(vma, VM_MAYEXEC | (r.write ? 0 : VM_MAYWRITE));
		vma->vm_ops = &mapping_operations;
		mapping_open(vma);
	}
	up_read(&q->maps);
	return rc;
}

void handle_revoke(struct mqshm_handle *h)
{
	const struct mqshm_info *info = h->queue->info;
	struct address_space *mapping;

	lockdep_assert_held_write(&h->queue->maps);
	if (!h->file || !atomic_read(&h->writable))
		return; /* it has unmapped all by itself */
	mapping = h->file->f_mapping; /* of all who opened the node: others' pages come back by faults */
	if (h->role == MQSHM_IOC_CONSUMER) {
		unmap_mapping_range(mapping, info->consumers_offset + (h->slot - info->max_producers) * (loff_t)PAGE_SIZE,
				    PAGE_SIZE, 1);
		return;
	}
	unmap_mapping_range(mapping, info->producer_offset, info->consumers_offset - info->producer_offset, 1);
	unmap_mapping_range(mapping, info->nodes_offset, info->ring_bytes, 1);
}
