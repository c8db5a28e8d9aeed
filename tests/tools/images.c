// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: makes log images out of inputs of the fuzz targets.
 *
 *	images FOLDER INPUT...
 *
 * Each goes into the folder under its own name.
 */
#include <fcntl.h>
#include <libgen.h>
#include <unistd.h>

#include "tests/fuzz/image.h"

static struct image image;

static long read_input(const char *path, u8 *data, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long n = fd < 0 ? -1 : read(fd, data, room);

	if (fd >= 0)
		close(fd);
	return n;
}

static int write_image(const char *folder, const char *name)
{
	char path[4096];
	int fd, bad;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	bad = write(fd, image.bytes, image.size) != (ssize_t)image.size;
	return close(fd) || bad;
}

int main(int argc, char **argv)
{
	static u8 data[1 << 16];
	int i;

	image.bytes = malloc(IMAGE_MAX);
	for (i = 2; image.bytes && i < argc; i++) {
		long n = read_input(argv[i], data, sizeof(data));

		if (n < 0)
			break;
		image_build(&image, data, n);
		if (write_image(argv[1], basename(argv[i])))
			break;
	}
	if (i == argc)
		return 0;
	perror(i < argc ? argv[i] : "images");
	return 1;
}
