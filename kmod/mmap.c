// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a role may see and write. A mapping is of exactly one region; its pages come by faults, each of which looks whether the
 * role is still there. Pages are put in under queue->maps, so that after handle_revoke() no writable one can appear.
 *
 * They are mapped as bare page frames (VM_PFNMAP): nobody gets a reference to one by get_user_pages(). A buffer registered with
 * io_uring or a direct read under way would go on writing to a page that is another's by then, and no unmapping ends that.
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
	vm_fault_t rc = VM_FAULT_SIGBUS;

	down_read(&q->maps);
	last = min(at + AROUND, vma->vm_pgoff + vma_pages(vma));
	if (h->gone || at >= last || last > q->page_count)
		goto out;
	if (h->ended && is_writable(vma)) {
		rc = vmf_insert_pfn(vma, address, page_to_pfn(h->dummy));
		goto out;
	}
	rc = vmf_insert_pfn(vma, address, page_to_pfn(q->pages[at]));
	while (rc == VM_FAULT_NOPAGE && ++at < last) { /* of these nobody asked for one, and none needs to come */
		address += PAGE_SIZE;
		if (vmf_insert_pfn(vma, address, page_to_pfn(q->pages[at])) != VM_FAULT_NOPAGE)
			break;
	}
out:
	up_read(&q->maps);
	return rc;
}

static void mapping_close(struct vm_area_struct *vma)
{
	owner_check_exec(vma->vm_file->private_data);
}

static const struct vm_operations_struct mapping_operations = {
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
	else if ((!r.write && vma->vm_flags & VM_WRITE) || vma->vm_flags & VM_EXEC)
		rc = -EACCES;
	if (!rc) {
		vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY);
		vm_flags_clear(vma, VM_MAYEXEC | (r.write ? 0 : VM_MAYWRITE));
		vma->vm_ops = &mapping_operations;
	}
	up_read(&q->maps);
	return rc;
}

void handle_revoke(struct mqshm_handle *h)
{
	lockdep_assert_held_write(&h->queue->maps);
	unmap_mapping_range(&h->mapping, 0, 0, 1); /* what it may go on reading comes back by faults */
}
