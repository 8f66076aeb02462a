/* SPDX-License-Identifier: GPL-2.0-only */
/* Differences between kernel versions, and nothing else. The code is written for the newest. MQSHM_HAVE_...: see Kbuild. */
#ifndef MQSHM_COMPAT_H
#define MQSHM_COMPAT_H

#include <linux/device.h>
#include <linux/mm.h>

#ifdef MQSHM_HAVE_CONST_DEVNODE
#define const_devnode const
#else
#define const_devnode
#endif

#ifdef MQSHM_HAVE_CONST_DEV_OWNERSHIP
#define const_dev_ownership const
#else
#define const_dev_ownership
#endif

#ifdef MQSHM_HAVE_CONST_GET_OWNERSHIP
#define const_get_ownership const
#else
#define const_get_ownership
#endif

#ifdef MQSHM_HAVE_CONST_BIN_ATTRIBUTE
#define const_bin_attribute const
#else
#define const_bin_attribute
#endif

/* For trace.h: the source of a string is named once, or twice. */
#ifdef MQSHM_HAVE_ASSIGN_STR_ONCE
#define mqshm_assign_str(to, from) __assign_str(to)
#else
#define mqshm_assign_str(to, from) __assign_str(to, from)
#endif

#ifndef MQSHM_HAVE_VM_FLAGS_SET
static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags &= ~flags;
}
#endif

#endif
