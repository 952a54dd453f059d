/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks this host's kernel for an interface that no kernel has yet, as a later version of the
 * library might, and prints what dmrpcd makes of its answer:
 * the name of the error, its message, and its hint, a line each.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dmioctl.h"
#include "failure.h"
#include "ioctl_buffer.h"
#include "ioctl_request.h"
#include "transport.h"

enum { MINOR = 1000 };

int main(void)
{
    struct dmi_transport *transport;
    struct ioctl_request request;
    struct ioctl_small buffer = {0};
    struct failure failure = {0};
    struct dmi dm;
    int rc = dmi_transport_kernel_new(&transport);

    if (rc < 0) {
        (void)fprintf(stderr, "too_old: /dev/mapper/control: %s\n", strerror(-rc));
        return 2;
    }
    dmi_init(&dm, transport);
    ioctl_request_init(&request, &dm, DMI_VERSION);
    request.lowest_minor = MINOR;
    rc = ioctl_submit(&dm, &request, &buffer.header, sizeof(buffer));
    dmi_transport_free(transport);
    if (rc != -EPROTONOSUPPORT) {
        (void)fprintf(stderr, "too_old: it was not refused as too old: %d\n", rc);
        return 1;
    }
    failure_set_kernel(&failure, rc, &dm, NULL, false);
    (void)printf("%s\n%s\n%s\n", failure.data.error, failure.message, failure.data.hint);
    return 0;
}
