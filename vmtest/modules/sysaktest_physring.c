// SPDX-License-Identifier: MIT OR Apache-2.0
/* Leaks nothing: 2,048 objects of kmalloc-1k in a device's ring, forty of them replaced a second. */
#define RING_NAME "sysaktest_physring"
#define RING_CACHE "kmalloc-1k"
#define RING_SIZE 1024
#define RING_DESCRIPTORS 2048

#include "sysaktest_physring.h"
