/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages: to device-mapper's core (those that begin with @), or to the target at
 * a sector.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "call.h"
#include "device.h"
#include "wait.h"

static int cancel_deferred_remove(struct sim_device *device, unsigned int argc)
{
    if (argc != 1) {
        sim_log(device->sim, "ioctl", "Invalid arguments for @cancel_deferred_remove");
        return -EINVAL;
    }
    if (device->deleting)
        return -EBUSY;
    device->deferred_remove = false;
    return 0;
}

/* message_for_md(): 2 if the message is for a target. */
static int message_for_core(struct sim_device *device, unsigned int argc, char **argv,
                            struct sim_text *out)
{
    if (**argv != '@')
        return 2;
    if (strcasecmp(argv[0], "@cancel_deferred_remove") == 0)
        return cancel_deferred_remove(device, argc);
    int rc = sim_stats_message(device, argc, argv, out);
    if (rc < 2)
        return rc;
    sim_log(device->sim, "ioctl", "Unsupported message sent to DM core: %s", argv[0]);
    return -EINVAL;
}

static int message_for_target(struct sim_device *device, uint64_t sector, unsigned int argc,
                              char **argv, struct sim_text *out)
{
    /* Older kernels let ioctl(2) return 2 here, and nothing is copied out. */
    if (!device->live) {
        sim_log(device->sim, "ioctl", "The device has no table.");
        return -EINVAL;
    }

    struct sim_target *target = sim_table_find(device->live, sector);
    if (!target) {
        sim_log(device->sim, "ioctl", "Target message sector outside device.");
        return -EINVAL;
    }
    if (!target->type->message) {
        sim_log(device->sim, "ioctl", "Target type does not support messages");
        return -EINVAL;
    }
    return target->type->message(target, argc, argv, out);
}

static int run_message(struct sim_device *device, uint64_t sector, char *text, struct sim_text *out)
{
    unsigned int argc;
    char **argv;
    int rc = sim_args_split(text, &argc, &argv);
    if (rc < 0) {
        sim_log(device->sim, "ioctl", "Failed to split target message parameters");
        return rc;
    }
    if (!argc) {
        sim_log(device->sim, "ioctl", "Empty message received.");
        rc = -EINVAL;
    } else {
        rc = message_for_core(device, argc, argv, out);
        if (rc > 1)
            rc = message_for_target(device, sector, argc, argv, out);
    }
    free(argv);
    return rc;
}

/* The answer of a message that made one. */
static void finish_output(struct sim_call *call, const struct sim_text *out)
{
    call->param->flags |= DM_DATA_OUT_FLAG;
    if (sim_text_is_full(out))
        call->param->flags |= DM_BUFFER_FULL_FLAG;
    else
        call->param->data_size = call->param->data_start + (uint32_t)strlen(out->data) + 1;
}

int sim_call_message(struct sim_call *call)
{
    struct dm_ioctl *param = call->param;
    uint64_t at = param->data_start, sector;
    struct sim_text out = {0};

    /* From here on data_start is the output's, even where there will be none. */
    out.data = sim_call_result(call, &out.size);
    struct sim_device *device = sim_call_find(call);
    if (!device)
        return -ENXIO;

    char *text = at < SIM_NO_PARAMS_SIZE
                     ? NULL
                     : sim_call_string(call, at + offsetof(struct dm_target_msg, message));
    if (!text) {
        sim_log(call->sim, "ioctl", "Invalid target message parameters.");
        return -EINVAL;
    }
    memcpy(&sector, (const char *)param + at, sizeof(sector));
    device->busy++;
    int rc = run_message(device, sector, text, &out);
    device->busy--;
    sim_wake(call->sim);
    if (rc >= 0)
        sim_call_fill(call, device);
    if (rc == 1) {
        finish_output(call, &out);
        rc = 0;
    }
    return rc;
}
