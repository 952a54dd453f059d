/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.h - the seam between the library and a kernel.
 *
 * A transport takes a filled struct dm_ioctl buffer and leaves the kernel's
 * answer in the same buffer, as ioctl(2) on /dev/mapper/control does; nothing
 * above it knows which kernel that is. There are three: the real one
 * (transport_kernel.c, the only ioctl(2) of the project), the simulated one
 * (sim/) and the scripted one of the unit tests.
 */
#ifndef DMI_TRANSPORT_H
#define DMI_TRANSPORT_H

#include <stdint.h>

#include "dmioctl.h"

struct dm_ioctl;

/* One is embedded at the head of each implementation's own struct. */
struct dmi_transport {
    const char *backend; /* "kernel", "simulated": static */

    /*
     * Carries out command `nr` on `buffer`, whose data_size bytes are all the
     * caller's. Returns what ioctl(2) does, with -errno in place of -1. Callable
     * from any thread, and may block.
     */
    int (*ioctl)(struct dmi_transport *transport, enum dmi_ioctl nr, struct dm_ioctl *buffer);

    /* A descriptor to poll for POLLIN after DM_DEV_ARM_POLL; the transport's. */
    int (*poll_fd)(struct dmi_transport *transport);

    /* The majors that device-mapper holds; *ret_majors is malloc'ed. 0 or -errno. */
    int (*dev_majors)(struct dmi_transport *transport, uint32_t **ret_majors, size_t *ret_count);

    /* The sequence number of a device's disk. 0, or -ENOENT where there is none. */
    int (*diskseq)(struct dmi_transport *transport, struct dmi_device device,
                   uint64_t *ret_diskseq);

    /* Another open file on the same kernel, with a poll state of its own. 0 or -errno. */
    int (*reopen)(struct dmi_transport *transport, struct dmi_transport **ret_transport);

    void (*free)(struct dmi_transport *transport);
};

/*
 * The host's kernel. -ENOENT, -ENODEV or -ENXIO: it has no device-mapper (or no
 * node for it); -EACCES or -EPERM: the caller may not use it.
 */
int dmi_transport_kernel_new(struct dmi_transport **ret_transport);

int dmi_transport_reopen(struct dmi_transport *transport, struct dmi_transport **ret_transport);

/* Takes NULL. Returns NULL. No call may be running on it. */
struct dmi_transport *dmi_transport_free(struct dmi_transport *transport);

#endif
