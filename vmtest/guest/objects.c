// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loads of kernel objects that a process holds: by open files of many kinds, by its address space, by its timers. Each
 * makes `words[0]` objects and returns their number.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

void allow_files(unsigned long count)
{
	struct rlimit files = { count + 100, count + 100 };

	need(setrlimit(RLIMIT_NOFILE, &files) == 0, "RLIMIT_NOFILE");
}

static unsigned long unix_pairs(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(2 * count);
	for (unsigned long i = 0; i < count; i++) {
		int ends[2];

		need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
	}
	return count;
}

/* Connections of the process with itself: two sockets each. */
static unsigned long tcp(char **words)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	unsigned long count = number(words[0]);
	socklen_t length = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	allow_files(2 * count);
	need(listener >= 0 && bind(listener, (void *)&at, length) == 0 && listen(listener, 64) == 0, "listen");
	need(getsockname(listener, (void *)&at, &length) == 0, "getsockname");
	for (unsigned long i = 0; i < count; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		need(fd >= 0 && connect(fd, (void *)&at, length) == 0, "connect");
		need(accept(listener, NULL, NULL) >= 0, "accept");
	}
	return count;
}

static unsigned long udp(char **words)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	unsigned long count = number(words[0]);

	allow_files(count);
	for (unsigned long i = 0; i < count; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		need(fd >= 0 && bind(fd, (void *)&at, sizeof(at)) == 0, "udp");
	}
	return count;
}

static unsigned long netlink(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(count);
	for (unsigned long i = 0; i < count; i++)
		need(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) >= 0, "netlink");
	return count;
}

static unsigned long eventfds(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(count);
	for (unsigned long i = 0; i < count; i++)
		need(eventfd(0, 0) >= 0, "eventfd");
	return count;
}

static unsigned long timerfds(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(count);
	for (unsigned long i = 0; i < count; i++)
		need(timerfd_create(CLOCK_MONOTONIC, 0) >= 0, "timerfd");
	return count;
}

static unsigned long posix_timers(char **words)
{
	unsigned long count = number(words[0]);
	struct rlimit signals = { count + 100, count + 100 };

	need(setrlimit(RLIMIT_SIGPENDING, &signals) == 0, "RLIMIT_SIGPENDING");
	for (unsigned long i = 0; i < count; i++) {
		struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
		int id;

		need(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id) == 0, "timer_create");
	}
	return count;
}

/* One epoll that watches so many files. */
static unsigned long epolls(char **words)
{
	unsigned long count = number(words[0]);
	int epoll = epoll_create1(0);

	allow_files(count);
	for (unsigned long i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN };

		need(epoll_ctl(epoll, EPOLL_CTL_ADD, eventfd(0, 0), &event) == 0, "epoll_ctl");
	}
	return count;
}

static unsigned long empty_pipes(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(2 * count);
	for (unsigned long i = 0; i < count; i++) {
		int ends[2];

		need(pipe(ends) == 0, "pipe");
	}
	return count;
}

static int ring(unsigned int entries, struct io_uring_params *params)
{
	int fd = syscall(SYS_io_uring_setup, entries, params);

	need(fd >= 0, "io_uring_setup");
	return fd;
}

static unsigned long rings(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(count);
	for (unsigned long i = 0; i < count; i++) {
		struct io_uring_params params = { 0 };

		ring(2, &params);
	}
	return count;
}

/* Open files that are registered with a ring and closed: nobody else has them. */
static unsigned long ring_files(char **words)
{
	unsigned long count = number(words[0]);
	struct io_uring_params params = { 0 };
	int *files = calloc(count, sizeof(*files));
	int fd = ring(2, &params);

	allow_files(count);
	for (unsigned long i = 0; i < count; i++)
		files[i] = open("/dev/zero", O_RDONLY);
	need(syscall(SYS_io_uring_register, fd, IORING_REGISTER_FILES, files, count) == 0, "IORING_REGISTER_FILES");
	for (unsigned long i = 0; i < count; i++)
		close(files[i]);
	return count;
}

/* Requests of a ring that wait for an event that never comes. */
static unsigned long ring_polls(char **words)
{
	unsigned long count = number(words[0]);
	struct io_uring_params params = { 0 };
	int fd = ring(64, &params), waited = eventfd(0, 0);
	size_t bytes = params.sq_off.array + params.sq_entries * sizeof(__u32);
	char *queue = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entries = mmap(NULL, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE,
					    MAP_SHARED, fd, IORING_OFF_SQES);
	volatile __u32 *tail = (void *)(queue + params.sq_off.tail);
	__u32 *array = (void *)(queue + params.sq_off.array), mask = params.sq_entries - 1;

	need(queue != MAP_FAILED && entries != MAP_FAILED, "mmap of a ring");
	for (unsigned long i = 0; i < count; i++) {
		struct io_uring_sqe *entry = &entries[*tail & mask];

		memset(entry, 0, sizeof(*entry));
		entry->opcode = IORING_OP_POLL_ADD;
		entry->fd = waited;
		entry->poll32_events = POLLIN;
		array[*tail & mask] = *tail & mask;
		__sync_synchronize();
		++*tail;
		need(syscall(SYS_io_uring_enter, fd, 1, 0, 0, NULL, 0) == 1, "io_uring_enter");
	}
	return count;
}

/* Files in flight: sent through a socket of the process to another one of it, closed, never received. */
static unsigned long flights(char **words)
{
	enum { AT_ONCE = 100 };
	unsigned long count = number(words[0]);
	char control[CMSG_SPACE(AT_ONCE * sizeof(int))] = { 0 }, byte = 'x';
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int ends[2], room = 1 << 24, *files = (int *)CMSG_DATA(header);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(AT_ONCE * sizeof(int));
	allow_files(count);
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
	need(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) == 0, "SO_SNDBUFFORCE");
	for (unsigned long i = 0; i < count; i += AT_ONCE) {
		for (int n = 0; n < AT_ONCE; n++)
			files[n] = open("/dev/full", O_RDWR);
		need(sendmsg(ends[0], &message, 0) == 1, "sendmsg");
		for (int n = 0; n < AT_ONCE; n++)
			close(files[n]);
	}
	return count;
}

/* Areas of the address space that cannot be merged. */
static unsigned long areas(char **words)
{
	unsigned long count = number(words[0]), page = 4096;
	char *at = mmap(NULL, count * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(at != MAP_FAILED, "mmap");
	for (unsigned long i = 1; i < count; i += 2)
		need(mprotect(at + i * page, page, PROT_NONE) == 0, "mprotect");
	return count;
}

/* Locks of every second byte of a file. */
static unsigned long locks(char **words)
{
	unsigned long count = number(words[0]);
	int fd = open("/tmp/locked", O_CREAT | O_RDWR, 0600);

	need(fd >= 0, "/tmp/locked");
	for (unsigned long i = 0; i < count; i++) {
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2 * i, .l_len = 1 };

		need(fcntl(fd, F_SETLK, &lock) == 0, "F_SETLK");
	}
	return count;
}

/* Asynchronous requests that wait for an event that never comes. */
static unsigned long aio(char **words)
{
	unsigned long count = number(words[0]);
	int waited = eventfd(0, 0);
	aio_context_t context = 0;

	need(syscall(SYS_io_setup, count, &context) == 0, "io_setup");
	for (unsigned long i = 0; i < count; i++) {
		struct iocb *one = calloc(1, sizeof(*one));

		one->aio_lio_opcode = IOCB_CMD_POLL;
		one->aio_fildes = waited;
		one->aio_buf = POLLIN;
		need(syscall(SYS_io_submit, context, 1, &one) == 1, "io_submit");
	}
	return count;
}

static unsigned long perf(char **words)
{
	unsigned long count = number(words[0]);
	struct perf_event_attr wanted = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(wanted),
					  .config = PERF_COUNT_SW_PAGE_FAULTS, .disabled = 1 };

	allow_files(count);
	for (unsigned long i = 0; i < count; i++)
		need(syscall(SYS_perf_event_open, &wanted, 0, -1, -1, 0) >= 0, "perf_event_open");
	return count;
}

/* words: how many; a folder in which so many files are made and marked */
static unsigned long fanotify(char **words)
{
	unsigned long count = number(words[0]);
	int watch = fanotify_init(FAN_CLASS_NOTIF | FAN_UNLIMITED_MARKS, O_RDONLY);

	need(watch >= 0 && chdir(words[1]) == 0, "fanotify_init");
	for (unsigned long i = 0; i < count; i++) {
		char name[64];
		int fd;

		snprintf(name, sizeof(name), "marked-%lu", i);
		fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
		need(fd >= 0 && close(fd) == 0, name);
		need(fanotify_mark(watch, FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, name) == 0, "fanotify_mark");
	}
	return count;
}

/* The numbers of processes that have ended. */
static unsigned long pidfds(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(count);
	for (unsigned long i = 0; i < count; i++) {
		pid_t child = fork();

		need(child >= 0, "fork");
		if (child == 0)
			_exit(0);
		need(syscall(SYS_pidfd_open, child, 0) >= 0, "pidfd_open");
		need(waitpid(child, NULL, 0) == child, "waitpid");
	}
	return count;
}

/* words: how many; a folder in which so many files are made, opened and deleted */
static unsigned long deleted_files(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(count);
	need(chdir(words[1]) == 0, words[1]);
	for (unsigned long i = 0; i < count; i++)
		need(open("gone", O_CREAT | O_EXCL | O_RDWR, 0600) >= 0 && unlink("gone") == 0, "gone");
	return count;
}

/* Mounts that only this process's name space has. */
static unsigned long mounts(char **words)
{
	unsigned long count = number(words[0]);

	need(unshare(CLONE_NEWNS) == 0, "unshare");
	need(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "MS_PRIVATE");
	for (unsigned long i = 0; i < count; i++) {
		char name[64];

		snprintf(name, sizeof(name), "/tmp/mount-%lu", i % 16);
		mkdir(name, 0700);
		need(mount("/sys", name, NULL, MS_BIND, NULL) == 0, name);
	}
	return count;
}

/* Network name spaces that only an open file keeps. */
static unsigned long spaces(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(count);
	for (unsigned long i = 0; i < count; i++) {
		need(unshare(CLONE_NEWNET) == 0, "CLONE_NEWNET");
		need(open("/proc/self/ns/net", O_RDONLY) >= 0, "/proc/self/ns/net");
	}
	return count;
}

/* Name spaces of host names, each kept by an open file. */
static unsigned long uts(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(count);
	for (unsigned long i = 0; i < count; i++) {
		need(unshare(CLONE_NEWUTS) == 0, "CLONE_NEWUTS");
		need(open("/proc/self/ns/uts", O_RDONLY) >= 0, "/proc/self/ns/uts");
	}
	return count;
}

/* words: how many; a folder. A sparse file there with a page in every piece of 64 pages. */
static unsigned long sparse(char **words)
{
	unsigned long count = number(words[0]);
	int fd;

	need(chdir(words[1]) == 0, words[1]);
	fd = open("sparse", O_CREAT | O_EXCL | O_RDWR, 0600);
	need(fd >= 0, "sparse");
	for (unsigned long i = 0; i < count; i++)
		need(pwrite(fd, "x", 1, i << 18) == 1, "pwrite");
	return count;
}

static unsigned long bpf(char **words)
{
	unsigned long count = number(words[0]);

	bpf_map(count, 900);
	return count;
}

const struct holding object_loads[] = {
	{ "unix", 1, unix_pairs },     { "tcp", 1, tcp },
	{ "udp", 1, udp },	       { "netlink", 1, netlink },
	{ "eventfd", 1, eventfds },    { "timerfd", 1, timerfds },
	{ "timers", 1, posix_timers }, { "epoll", 1, epolls },
	{ "empty", 1, empty_pipes },   { "rings", 1, rings },
	{ "ringfiles", 1, ring_files }, { "ringpolls", 1, ring_polls },
	{ "flights", 1, flights },     { "areas", 1, areas },
	{ "locks", 1, locks },	       { "aio", 1, aio },
	{ "perf", 1, perf },	       { "fanotify", 2, fanotify },
	{ "pidfd", 1, pidfds },	       { "gone", 2, deleted_files },
	{ "mounts", 1, mounts },       { "spaces", 1, spaces },
	{ "uts", 1, uts },	       { "sparse", 2, sparse },
	{ "bpf", 1, bpf },
	{ NULL, 0, NULL },
};
