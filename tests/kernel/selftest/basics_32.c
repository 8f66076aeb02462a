// SPDX-License-Identifier: GPL-2.0-only
/* The same by a 32-bit process: all structures are laid out alike. */
#include "basics.c"
