// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ask a controller of NVMe not to say which of its namespaces come and go:
 *
 *	nvme-quiet /dev/nvmeN
 *
 * So this host goes on using a namespace that its target does not know any more.
 */
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define SET_FEATURES	0x09
#define ASYNC_EVENTS	0x0b

int main(int argc, char **argv)
{
	struct nvme_admin_cmd command = {
		.opcode = SET_FEATURES,
		.cdw10 = ASYNC_EVENTS,
	};
	int fd = argc == 2 ? open(argv[1], O_RDWR) : -1;

	if (fd < 0) {
		fprintf(stderr, "usage: nvme-quiet /dev/nvmeN\n");
		return 2;
	}
	if (ioctl(fd, NVME_IOCTL_ADMIN_CMD, &command)) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
