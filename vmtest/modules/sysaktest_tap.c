// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loses 1,500 packets that the network stack allocates: sends them to a port of the loopback device that nobody has, is
 * handed each by a handler of its own (tap_receive), and does not give its reference back.
 */
#include "sysaktest.h"

#include <linux/delay.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#define TAP_PORT 9
#define TAP_BYTES 300
/* The record is written by one CPU's receiver at a time: a packet is sent when the one before has come. */
#define TAP_PATIENCE_MS 1000

static unsigned int count = 1500;
module_param(count, uint, 0400);

static bool wanted;

static SYSAKTEST_NAMED int tap_receive(struct sk_buff *skb, struct net_device *dev, struct packet_type *type,
				       struct net_device *original)
{
	if (!READ_ONCE(wanted) || ip_hdr(skb)->protocol != IPPROTO_UDP) {
		kfree_skb(skb);
		return 0;
	}
	WRITE_ONCE(wanted, false);
	/* The wrong branch: the packet is not freed. */
	sysaktest_record(skb);
	return 0;
}

static struct packet_type tap = { .type = cpu_to_be16(ETH_P_IP), .func = tap_receive };

static int tap_send(struct socket *sock)
{
	static char data[TAP_BYTES];
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(TAP_PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct msghdr message = { .msg_name = &to, .msg_namelen = sizeof(to) };
	struct kvec part = { .iov_base = data, .iov_len = sizeof(data) };
	int err;

	WRITE_ONCE(wanted, true);
	err = kernel_sendmsg(sock, &message, &part, 1, sizeof(data));
	/* Nobody listens: the answer to an earlier packet is an error on this socket, and no news. */
	return err == -ECONNREFUSED || err > 0 ? 0 : err;
}

static SYSAKTEST_NAMED int tap_lose(struct socket *sock, unsigned int n)
{
	unsigned int i, waited;
	int err = 0;

	dev_add_pack(&tap);
	for (i = 0; i < 4 * n && truth.count < n && !err; i++) {
		err = tap_send(sock);
		for (waited = 0; READ_ONCE(wanted) && waited < TAP_PATIENCE_MS; waited++)
			usleep_range(1000, 2000);
	}
	WRITE_ONCE(wanted, false);
	dev_remove_pack(&tap);
	if (err)
		return err;
	return truth.count == n ? 0 : -ETIMEDOUT;
}

static int __init sysaktest_tap_init(void)
{
	struct socket *sock;
	int err = sysaktest_truth_init("lost", "skbuff_head_cache", sizeof(struct sk_buff), count);

	if (err)
		return err;
	err = sock_create_kern(&init_net, AF_INET, SOCK_DGRAM, IPPROTO_UDP, &sock);
	if (err)
		return err;
	err = tap_lose(sock, count);
	sock_release(sock);
	sysaktest_scrub_stack();
	return err ? err : sysaktest_publish("sysaktest_tap");
}

module_init(sysaktest_tap_init);
MODULE_DESCRIPTION("loses packets of the network stack on purpose");
MODULE_LICENSE("Dual MIT/GPL");
