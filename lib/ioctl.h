/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl.h - what the kernel's header does not say of its commands, and its numbers for devices.
 *
 * Internal to the library, as are all ioctl_*.h. Pure functions, for any thread.
 */
#ifndef DMI_IOCTL_H
#define DMI_IOCTL_H

#include <stdbool.h>
#include <stdint.h>

#include "dmioctl.h"

enum {
    IOCTL_MAJOR = 4,
    /* The lowest minor version of the interface that knows each of these. */
    IOCTL_MINOR_SET_UUID = 19,
    IOCTL_MINOR_DEFERRED_REMOVE = 27,
    IOCTL_MINOR_LIST_EVENT_NR = 37,
    IOCTL_MINOR_LIST_UUID = 45,
    /* Limits of what huge_encode_dev can carry. */
    IOCTL_DEVICE_MAJOR_MAX = 0xfff,
    IOCTL_DEVICE_MINOR_MAX = 0xfffff,
    /* The largest buffer that a kernel takes, with its header. */
    IOCTL_SIZE_MAX = 1 << 30,
};

/* The lowest minor version of the interface that has the command. */
uint32_t ioctl_lowest_minor(enum dmi_ioctl nr);

/* The kernel's huge_encode_dev and back. The numbers must be within the limits above. */
uint64_t ioctl_encode_device(struct dmi_device device);
struct dmi_device ioctl_decode_device(uint64_t encoded);

#endif
