// SPDX-License-Identifier: GPL-2.0-only
/* Block devices: geometry and direct I/O. All functions return 0 or -errno. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "verify.h"

static bool offers_discard(const struct stat *sb)
{
	unsigned long long max = 0;
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/discard_max_bytes",
		 major(sb->st_rdev), minor(sb->st_rdev));
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fscanf(f, "%llu", &max) != 1)
		max = 0;
	fclose(f);
	return max > 0;
}

void dev_open(struct dev *d, const char *role, const char *path, bool writable)
{
	unsigned long long bytes = 0;
	struct stat sb;
	int block = 0;

	d->role = role;
	d->path = path;
	d->fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
	if (d->fd < 0)
		die("cannot open %s %s: %s", role, path, strerror(errno));
	if (fstat(d->fd, &sb) || !S_ISBLK(sb.st_mode))
		die("%s %s is not a block device", role, path);
	if (ioctl(d->fd, BLKGETSIZE64, &bytes) || ioctl(d->fd, BLKSSZGET, &block))
		die("cannot read the size of %s %s: %s", role, path, strerror(errno));
	if (block < 512 || block > 4096 || !bytes)
		die("%s %s: %llu bytes in blocks of %d cannot be checked", role, path,
		    bytes, block);
	d->sectors = bytes / SECTOR_SIZE;
	d->block = (u32)block / SECTOR_SIZE;
	d->discards = offers_discard(&sb);
}

static int whole(ssize_t got, u64 count)
{
	if (got < 0)
		return -errno;
	return (u64)got == count * SECTOR_SIZE ? 0 : -EIO;
}

int dev_read(const struct dev *d, void *buf, u64 sector, u64 count)
{
	return whole(pread(d->fd, buf, count * SECTOR_SIZE,
			   (off_t)(sector * SECTOR_SIZE)), count);
}

int dev_write(const struct dev *d, const void *buf, u64 sector, u64 count, bool fua)
{
	struct iovec iov = {
		.iov_base = (void *)(uintptr_t)buf,
		.iov_len = count * SECTOR_SIZE,
	};

	return whole(pwritev2(d->fd, &iov, 1, (off_t)(sector * SECTOR_SIZE),
			      fua ? RWF_DSYNC : 0), count);
}

static int range_ioctl(const struct dev *d, unsigned long cmd, u64 sector, u64 count)
{
	uint64_t range[2] = { sector * SECTOR_SIZE, count * SECTOR_SIZE };

	return ioctl(d->fd, cmd, range) ? -errno : 0;
}

int dev_discard(const struct dev *d, u64 sector, u64 count)
{
	return range_ioctl(d, BLKDISCARD, sector, count);
}

int dev_zero(const struct dev *d, u64 sector, u64 count)
{
	return range_ioctl(d, BLKZEROOUT, sector, count);
}

int dev_flush(const struct dev *d)
{
	return fdatasync(d->fd) ? -errno : 0;
}

void dev_fill(const struct dev *d, void *mib_buf, u64 seq)
{
	u64 s, n;
	int err;

	for (s = 0; s < d->sectors; s += n) {
		n = d->sectors - s < MIB_SECTORS ? d->sectors - s : MIB_SECTORS;
		stamp_write(mib_buf, s, n, seq, BY_FILL, 0, 0);
		err = dev_write(d, mib_buf, s, n, false);
		if (err)
			die("filling %s %s failed at sector %llu: %s", d->role, d->path,
			    (unsigned long long)s, strerror(-err));
	}
}

int aio_open(struct aio *a, unsigned int depth)
{
	aio_context_t ctx = 0;

	if (syscall(SYS_io_setup, depth, &ctx))
		return -errno;
	a->ctx = ctx;
	a->depth = depth;
	return 0;
}

void aio_close(struct aio *a)
{
	syscall(SYS_io_destroy, a->ctx);
}

int aio_write(struct aio *a, const struct dev *d, void *buf, u64 sector,
	      u64 count, u64 tag)
{
	struct iocb cb = {
		.aio_data = tag,
		.aio_lio_opcode = IOCB_CMD_PWRITE,
		.aio_fildes = (u32)d->fd,
		.aio_buf = (uintptr_t)buf,
		.aio_nbytes = count * SECTOR_SIZE,
		.aio_offset = (long long)(sector * SECTOR_SIZE),
	};
	struct iocb *list[1] = { &cb };

	return syscall(SYS_io_submit, a->ctx, 1L, list) == 1 ? 0 : -errno;
}

int aio_wait(struct aio *a, struct aio_done *done, unsigned int max)
{
	struct io_event ev[64];
	long i, n;

	if (max > 64)
		max = 64;
	do {
		n = syscall(SYS_io_getevents, a->ctx, 1L, (long)max, ev, NULL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (i = 0; i < n; i++) {
		done[i].tag = ev[i].data;
		done[i].res = (long)ev[i].res;
	}
	return (int)n;
}
