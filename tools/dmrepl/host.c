// SPDX-License-Identifier: GPL-2.0-only
/* The host around a pair: programs, block devices, mounts, the kernel's log. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

/* --- programs ------------------------------------------------------------- */

/* In the child: a process group of its own, so that all of it can be stopped. */
static void become(const struct words *words, int output)
{
	struct sigaction normal = { .sa_handler = SIG_DFL };
	sigset_t none;
	int nowhere;

	setpgid(0, 0);
	/* In a group of its own it would be stopped for reading from the terminal. */
	nowhere = open("/dev/null", O_RDONLY | O_CLOEXEC);
	dup2(nowhere, STDIN_FILENO);
	sigaction(SIGINT, &normal, NULL);
	sigaction(SIGTERM, &normal, NULL);
	sigaction(SIGHUP, &normal, NULL);
	sigaction(SIGQUIT, &normal, NULL);
	sigaction(SIGPIPE, &normal, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (output >= 0) {
		nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(output, STDOUT_FILENO);
		dup2(nowhere, STDERR_FILENO);
	}
	/* libdevmapper lets its control device be inherited; LVM complains of it. */
	close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	execvp(words->word[0], words->word);
	_exit(errno == ENOENT ? 127 : 126);
}

/* The end of a child, or ETIMEDOUT when it is stopped with all its children. */
static int await(pid_t pid, uint64_t ms)
{
	struct pollfd ended = { .events = POLLIN };
	uint64_t end = now_ms() + ms;
	int status, ready;

	setpgid(pid, pid);	/* whoever of us comes first */
	ended.fd = syscall(SYS_pidfd_open, pid, 0);
	while (ms && ended.fd >= 0) {
		ready = poll(&ended, 1, now_ms() < end ? (int)(end - now_ms()) : 0);
		if (ready > 0)
			break;
		if (!ready) {
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			close(ended.fd);
			errno = ETIMEDOUT;
			return -1;
		}
	}
	if (ended.fd >= 0)
		close(ended.fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int run_program(const struct words *words, uint64_t ms)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -1;
	if (!pid)
		become(words, -1);
	return await(pid, ms);
}

int read_program(const struct words *words, char **output)
{
	const size_t room = 65536;
	size_t had = 0;
	ssize_t got;
	int pipes[2];
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC))
		return -1;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		close(pipes[0]);
		close(pipes[1]);
		return -1;
	}
	if (!pid)
		become(words, pipes[1]);
	close(pipes[1]);
	*output = must_alloc(room + 1);
	while (had < room) {
		got = read(pipes[0], *output + had, room - had);
		if (got <= 0 && !(got < 0 && errno == EINTR))
			break;
		had += got > 0 ? got : 0;
	}
	close(pipes[0]);
	return await(pid, 0);
}

/* --- block devices -------------------------------------------------------- */

int64_t device_sectors(const char *path)
{
	uint64_t bytes = 0;
	struct stat st;
	int fd, err = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || !S_ISBLK(st.st_mode))
		err = -ENOTBLK;
	else if (ioctl(fd, BLKGETSIZE64, &bytes))
		err = -errno;
	close(fd);
	return err ? err : (int64_t)(bytes / SECTOR);
}

dev_t device_number(const char *path)
{
	struct stat st;

	if (stat(path, &st) || !S_ISBLK(st.st_mode))
		return 0;
	return st.st_rdev;
}

/* A line of mountinfo or swaps that is on this device, as a place; else NULL. */
static char *place_in(const char *line, dev_t dev)
{
	char where[4096], source[4096];
	unsigned int major, minor;

	if (sscanf(line, "%*u %*u %u:%u %*s %4095s", &major, &minor, where) == 3) {
		if (makedev(major, minor) == dev)
			return must_copy(where);
		/* btrfs: an anonymous number, but the source is named. */
		line = strstr(line, " - ");
		if (line && sscanf(line, " - %*s %4095s", source) == 1 &&
		    device_number(source) == dev)
			return must_copy(where);
		return NULL;
	}
	if (sscanf(line, "%4095s partition", source) == 1 && device_number(source) == dev)
		return must_copy("swap");
	return NULL;
}

static char *place_of(const char *file, dev_t dev)
{
	char *line = NULL, *place = NULL;
	FILE *lines = fopen(file, "re");
	size_t room = 0;

	while (lines && !place && getline(&line, &room, lines) >= 0)
		place = place_in(line, dev);
	free(line);
	if (lines)
		fclose(lines);
	return place;
}

char *mounted_at(dev_t dev)
{
	char *dir AUTOFREE = must_print("/sys/dev/block/%u:%u/holders", major(dev), minor(dev));
	char *place = place_of("/proc/self/mountinfo", dev);
	struct dirent *entry;
	dev_t holder;
	DIR *holders;

	if (!place)
		place = place_of("/proc/swaps", dev);
	if (place)
		return place;
	holders = opendir(dir);
	while (holders && !place && (entry = readdir(holders))) {
		char *path AUTOFREE = must_print("/dev/%s", entry->d_name);

		if (entry->d_name[0] == '.')
			continue;
		holder = device_number(path);
		if (holder && holder != dev)
			place = mounted_at(holder);
	}
	if (holders)
		closedir(holders);
	return place;
}

/* The mapped device's name if it has one, else the kernel's. */
char *device_path(const char *numbers)
{
	char *named AUTOFREE = must_print("/sys/dev/block/%s/dm/name", numbers);
	char *link AUTOFREE = must_print("/sys/dev/block/%s", numbers);
	char text[4096];
	const char *base;
	ssize_t len;
	FILE *file;

	file = fopen(named, "re");
	if (file) {
		if (!fgets(text, sizeof(text), file))
			text[0] = 0;
		fclose(file);
		text[strcspn(text, "\n")] = 0;
		return must_print("/dev/mapper/%s", text);
	}
	len = readlink(link, text, sizeof(text) - 1);
	if (len < 0)
		return must_copy(numbers);
	text[len] = 0;
	base = strrchr(text, '/');
	return must_print("/dev/%s", base ? base + 1 : text);
}

/* --- disks that are not there yet ----------------------------------------- */

/* What the kernel says of devices, and udev when it has made their links. */
static int hear_events(void)
{
	const struct sockaddr_nl both = { .nl_family = AF_NETLINK, .nl_groups = 1 | 2 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);

	if (fd >= 0)
		bind(fd, (const struct sockaddr *)&both, sizeof(both));
	return fd;
}

/* Nodes that others than udev make, after the event: those folders that are there. */
static void watch_folders(int fd, const char *path)
{
	char *folder AUTOFREE = must_copy(path), *slash;

	while ((slash = strrchr(folder, '/')) && slash != folder) {
		*slash = 0;
		inotify_add_watch(fd, folder, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
	}
}

/* Which news it was does not matter: each has us look again. */
static void forget_news(int fd)
{
	char news[8192];

	while (fd >= 0 && read(fd, news, sizeof(news)) > 0)
		;
}

/* Signals come during the wait only, so that none comes unnoticed before it. */
static void await_device(struct pollfd news[2], const char *path, uint64_t end,
			 const sigset_t *signals)
{
	struct timespec left;
	uint64_t now;

	for (;;) {
		watch_folders(news[0].fd, path);
		now = now_ms();
		if (device_sectors(path) > 0 || interrupted() || now >= end)
			return;
		left.tv_sec = (end - now) / 1000;
		left.tv_nsec = (end - now) % 1000 * 1000000;
		ppoll(news, 2, &left, signals);
		forget_news(news[0].fd);
		forget_news(news[1].fd);
	}
}

void await_devices(const struct words *paths, uint64_t ms)
{
	struct pollfd news[] = {
		{ .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .events = POLLIN },
		{ .fd = hear_events(), .events = POLLIN },
	};
	uint64_t end = now_ms() + ms;
	sigset_t all, before;
	unsigned int i;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	for (i = 0; i < paths->count; i++)
		await_device(news, paths->word[i], end, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(news[0].fd);
	close(news[1].fd);
}

/* --- the kernel's log ----------------------------------------------------- */

int klog_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/*
 * The last line of our target, without its prefixes. A record of the log looks
 * like "3,1234,56789,-;device-mapper: replication: 253:1: cannot start ...".
 */
char *klog_reason(int fd)
{
	char record[8192], *text, *reason = NULL;
	ssize_t len;

	while (fd >= 0 && (len = read(fd, record, sizeof(record) - 1)) > 0) {
		record[len] = 0;
		record[strcspn(record, "\n")] = 0;
		text = strstr(record, ";device-mapper: ");
		if (!text || !strstr(text, "replication: "))
			continue;
		text = strstr(text, "replication: ") + strlen("replication: ");
		if (strspn(text, "0123456789:") > 2 && strchr(text, ' '))
			text = strchr(text, ' ') + 1;
		free(reason);
		reason = must_copy(text);
	}
	if (fd >= 0)
		close(fd);
	return reason;
}
