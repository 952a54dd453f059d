/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.c - what all transports have in common. It must not know which
 * there are.
 */
#include "transport.h"

#include <stddef.h>

int dmi_transport_reopen(struct dmi_transport *transport, struct dmi_transport **ret_transport)
{
    return transport->reopen(transport, ret_transport);
}

struct dmi_transport *dmi_transport_free(struct dmi_transport *transport)
{
    if (transport) {
        transport->free(transport);
    }
    return NULL;
}
