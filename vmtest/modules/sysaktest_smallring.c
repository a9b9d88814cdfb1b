// SPDX-License-Identifier: MIT OR Apache-2.0
/* Leaks nothing: the same ring with 400 objects of kmalloc-4k, of which too few are alike to go by their number. */
#define RING_NAME "sysaktest_smallring"
#define RING_CACHE "kmalloc-4k"
#define RING_SIZE 4096
#define RING_DESCRIPTORS 400

#include "sysaktest_physring.h"
