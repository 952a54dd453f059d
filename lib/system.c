/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system.c - the calls that are about device-mapper as a whole and answer with
 * no list: its version, removing everything, events, majors. It must not know
 * any device.
 */
#include <errno.h>
#include <stdlib.h>

#include "ioctl_buffer.h"
#include "ioctl_request.h"
#include "transport.h"

/* To these the kernel answers nothing but its version. */
static int system_submit(struct dmi *dm, const struct ioctl_request *request,
                         struct dmi_version *ret_version)
{
    struct dm_ioctl buffer = {0};
    struct dmi_info info;
    int rc = ioctl_submit_info(dm, request, &buffer, sizeof(buffer), &info);

    if (rc < 0) {
        return rc;
    }
    *ret_version = info.version;
    return 0;
}

int dmi_version(struct dmi *dm, struct dmi_version *ret_version)
{
    struct ioctl_request request;

    ioctl_request_init(&request, dm, DMI_VERSION);
    return system_submit(dm, &request, ret_version);
}

int dmi_remove_all(struct dmi *dm, uint32_t flags)
{
    struct ioctl_request request;
    struct dmi_version version;

    ioctl_request_init(&request, dm, DMI_REMOVE_ALL);
    ioctl_request_flags(&request, flags, DMI_DEFERRED_REMOVE);
    return system_submit(dm, &request, &version);
}

int dmi_arm_poll(struct dmi *dm)
{
    struct ioctl_request request;
    struct dmi_version version;

    ioctl_request_init(&request, dm, DMI_DEV_ARM_POLL);
    return system_submit(dm, &request, &version);
}

int dmi_poll_fd(struct dmi *dm)
{
    dm->last = DMI_NONE;
    return dm->transport->poll_fd(dm->transport);
}

int dmi_dev_majors(struct dmi *dm, struct dmi_majors *ret_majors)
{
    struct dmi_majors majors = {0};
    int rc;

    dm->last = DMI_NONE;
    rc = dm->transport->dev_majors(dm->transport, &majors.majors, &majors.count);
    if (rc < 0) {
        return rc;
    }
    *ret_majors = majors;
    return 0;
}

void dmi_majors_done(struct dmi_majors *majors)
{
    free(majors->majors);
    *majors = (struct dmi_majors){0};
}
