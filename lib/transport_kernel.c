/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport_kernel.c - the host's kernel: the only ioctl(2) of the project, on
 * an open file of /dev/mapper/control. It must not know what is in the buffers.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "majors.h"
#include "transport.h"

static const char CONTROL_PATH[] = "/dev/" DM_DIR "/" DM_CONTROL_NODE;
static const char DEVICES_PATH[] = "/proc/devices";

struct kernel_transport {
    struct dmi_transport transport;
    int fd;
};

static struct kernel_transport *kernel_of(struct dmi_transport *transport)
{
    return (struct kernel_transport *)(void *)transport;
}

/* EINTR is passed on: it tells that a suspend was called off. */
static int kernel_ioctl(struct dmi_transport *transport, enum dmi_ioctl nr, struct dm_ioctl *buffer)
{
    int rc =
        ioctl(kernel_of(transport)->fd, _IOWR(DM_IOCTL, (unsigned int)nr, struct dm_ioctl), buffer);

    return rc < 0 ? -errno : rc;
}

static int kernel_poll_fd(struct dmi_transport *transport)
{
    return kernel_of(transport)->fd;
}

static int kernel_dev_majors(struct dmi_transport *transport, uint32_t **ret_majors,
                             size_t *ret_count)
{
    FILE *devices = fopen(DEVICES_PATH, "re");
    int rc;

    (void)transport;
    if (!devices) {
        return -errno;
    }
    rc = majors_parse(devices, ret_majors, ret_count);
    (void)fclose(devices);
    return rc;
}

/* sysfs: one short line. */
static int kernel_diskseq(struct dmi_transport *transport, struct dmi_device device,
                          uint64_t *ret_diskseq)
{
    char path[sizeof("/sys/dev/block/4294967295:4294967295/diskseq")];
    char line[24];

    (void)transport;
    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/diskseq", device.major, device.minor);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -ENOENT;
    }
    ssize_t n = read(fd, line, sizeof(line) - 1);
    (void)close(fd);
    if (n <= 0) {
        return -ENOENT;
    }
    line[n] = '\0';
    *ret_diskseq = strtoull(line, NULL, 10);
    return 0;
}

static int kernel_reopen(struct dmi_transport *transport, struct dmi_transport **ret_transport)
{
    (void)transport;
    return dmi_transport_kernel_new(ret_transport);
}

static void kernel_free(struct dmi_transport *transport)
{
    struct kernel_transport *kernel = kernel_of(transport);

    (void)close(kernel->fd);
    free(kernel);
}

int dmi_transport_kernel_new(struct dmi_transport **ret_transport)
{
    struct kernel_transport *kernel = malloc(sizeof(*kernel));

    if (!kernel) {
        return -ENOMEM;
    }
    *kernel = (struct kernel_transport){
        .transport =
            {
                .backend = "kernel",
                .ioctl = kernel_ioctl,
                .poll_fd = kernel_poll_fd,
                .dev_majors = kernel_dev_majors,
                .diskseq = kernel_diskseq,
                .reopen = kernel_reopen,
                .free = kernel_free,
            },
        .fd = open(CONTROL_PATH, O_RDWR | O_CLOEXEC),
    };
    if (kernel->fd < 0) {
        int rc = -errno;

        free(kernel);
        return rc;
    }
    *ret_transport = &kernel->transport;
    return 0;
}
