// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A machine that has leaked for a long time: `lost` objects of kmalloc-64 are gone when the module has loaded, and `rate`
 * a second go on getting lost, all by bond_vminfo_add. They look alike, and each points to a live owner (kmalloc-256,
 * whose second word is an ops table).
 */
#include "sysaktest_pace.h"

#include <linux/poison.h>

static unsigned int lost = 590000;
module_param(lost, uint, 0400);
static unsigned int rate = 4;
module_param(rate, uint, 0600);

struct bond_vminfo_ops {
	int (*expire)(void *);
	const char *name;
};

struct bond_vminfo_table {
	unsigned long refs;
	const struct bond_vminfo_ops *ops;
	char rest[240];
};

struct bond_vminfo {
	struct bond_vminfo_table *table;
	struct list_head link;
	u32 address;
	u16 vlan;
	u8 mac[6];
	u64 serial;
	u64 flags;
	u64 unused;
};

static int bond_vminfo_expire(void *unused)
{
	return unused != NULL;
}

/* Not static, so that it has a symbol of its own in kallsyms on every kernel. */
extern const struct bond_vminfo_ops bond_vminfo_ops;
const struct bond_vminfo_ops bond_vminfo_ops = { .expire = bond_vminfo_expire, .name = "bond_vminfo" };

static struct bond_vminfo_table *table;
static unsigned int serial;

static SYSAKTEST_NAMED int bond_vminfo_add(u32 address, u16 vlan)
{
	struct bond_vminfo *info = kzalloc(sizeof(*info), GFP_KERNEL);

	if (!info)
		return -ENOMEM;
	info->table = table;
	info->link.next = LIST_POISON1;
	info->link.prev = LIST_POISON2;
	info->address = address;
	info->vlan = vlan;
	memcpy(info->mac, "\x52\x54\x00\x12\x34\x56", sizeof(info->mac));
	info->serial = serial++;
	info->flags = 0x400;
	sysaktest_record(info);
	return 0;
}

static void bond_vminfo_step(void)
{
	bond_vminfo_add(0x0a000000 + serial, 100);
}

static int bond_vminfo_lose(void)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < lost && !err; i++) {
		err = bond_vminfo_add(0x0a000000 + i, 100);
		cond_resched();
	}
	sysaktest_scrub_stack();
	return err;
}

static int __init sysaktest_bond_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct bond_vminfo) != 64 || sizeof(struct bond_vminfo_table) != 256);
	err = sysaktest_truth_init("lost", "kmalloc-64", sizeof(struct bond_vminfo), lost + SYSAKTEST_LATER);
	if (err)
		return err;
	err = -ENOMEM;
	table = kzalloc(sizeof(*table), GFP_KERNEL);
	if (!table)
		goto no_table;
	table->refs = lost;
	table->ops = &bond_vminfo_ops;
	err = bond_vminfo_lose();
	if (!err)
		err = sysaktest_publish("sysaktest_bond");
	if (err)
		goto no_proc;
	err = sysaktest_pace_start(bond_vminfo_step, &rate, "bond_vminfo");
	if (!err)
		return 0;
	sysaktest_retract("sysaktest_bond");
	kfree(table);
	return err;

no_proc:
	kfree(table);
no_table:
	vfree(truth.masked);
	return err;
}

static void __exit sysaktest_bond_exit(void)
{
	sysaktest_pace_stop();
	sysaktest_retract("sysaktest_bond");
	kfree(table);
}

module_init(sysaktest_bond_init);
module_exit(sysaktest_bond_exit);
MODULE_DESCRIPTION("has lost kmalloc-64 objects for long, and loses a few more a second");
MODULE_LICENSE("Dual MIT/GPL");
