// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A driver that loses 300 buffers of kmalloc-8k which it had mapped for its device. Whether the device still has them,
 * memory does not show.
 */
#include "sysaktest.h"

#include <linux/dma-mapping.h>
#include <linux/platform_device.h>

#define BUFFERS 300
#define SIZE 8192

static struct platform_device *device;

static SYSAKTEST_NAMED int driver_post(unsigned int serial)
{
	u64 *buffer = kzalloc(SIZE, GFP_KERNEL);
	dma_addr_t address;

	if (!buffer)
		return -ENOMEM;
	buffer[0] = 0x647269766572ULL;
	buffer[1] = serial;
	sysaktest_record(buffer);
	address = dma_map_single(&device->dev, buffer, SIZE, DMA_TO_DEVICE);
	return dma_mapping_error(&device->dev, address) ? -EIO : 0;
}

static int __init sysaktest_driver_init(void)
{
	unsigned int i;
	int err;

	device = platform_device_register_simple("sysaktest_driver", -1, NULL, 0);
	if (IS_ERR(device))
		return PTR_ERR(device);
	err = dma_coerce_mask_and_coherent(&device->dev, DMA_BIT_MASK(64));
	if (!err)
		err = sysaktest_truth_init("lost", "kmalloc-8k", SIZE, BUFFERS);
	if (err)
		goto unregister;
	for (i = 0; !err && i < BUFFERS; i++)
		err = driver_post(i);
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_driver");
	if (!err)
		return 0;
	vfree(truth.masked);
unregister:
	platform_device_unregister(device);
	return err;
}

static void __exit sysaktest_driver_exit(void)
{
	sysaktest_retract("sysaktest_driver");
	platform_device_unregister(device);
}

module_init(sysaktest_driver_init);
module_exit(sysaktest_driver_exit);
MODULE_DESCRIPTION("loses buffers that it mapped for a device");
MODULE_LICENSE("Dual MIT/GPL");
