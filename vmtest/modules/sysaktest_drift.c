// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Takes no memory: adds to two of the kernel's counters what nobody allocated, as code does that forgets to subtract.
 * 200 MiB to SUnreclaim and 100 MiB to Shmem, until it is unloaded.
 */
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/vmstat.h>

#define SLAB_BYTES (200L << 20)
#define SHMEM_PAGES ((100L << 20) / (long)PAGE_SIZE)

static void drift_add(long sign)
{
	pg_data_t *node = NODE_DATA(first_online_node);

	/* Slabs are counted in bytes since v5.9. */
	mod_node_page_state(node, NR_SLAB_UNRECLAIMABLE_B, sign * SLAB_BYTES);
	mod_node_page_state(node, NR_SHMEM, sign * SHMEM_PAGES);
}

static int __init sysaktest_drift_init(void)
{
	drift_add(1);
	return 0;
}

static void __exit sysaktest_drift_exit(void)
{
	drift_add(-1);
}

module_init(sysaktest_drift_init);
module_exit(sysaktest_drift_exit);
MODULE_DESCRIPTION("makes counters of memory wrong");
MODULE_LICENSE("Dual MIT/GPL");
