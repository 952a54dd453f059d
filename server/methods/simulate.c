/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods that steer the simulated kernel: its disks, what happens to devices from
 * outside, and faults. dispatch.c lets them through with --simulate only.
 */
#include <errno.h>
#include <string.h>

#include "call.h"
#include "sim/sim.h"

static struct dmi_device number_of(const struct device *device)
{
    return (struct dmi_device){device->major, device->minor};
}

int method_simulate_disk_add(struct call *call, const struct simulate_disk_add_params *params,
                             struct simulate_disk_add_result *result)
{
    struct dmi_sim_disk disk = {
        .sectors = params->sectors,
        .block_size = params->block_size,
        .read_only = params->read_only,
        .claimed = params->claimed,
    };
    struct dmi_device device;

    memcpy(disk.path, params->path, strlen(params->path) + 1);
    if (params->has_number) {
        disk.device = number_of(&params->number);
    }
    int rc = dmi_sim_disk_add(call->host->sim, &disk, &device);
    if (rc == -EINVAL) {
        return call_fail_param(call, "",
                               "the path must begin with '/', the block size be a power "
                               "of two, and the number not be one of device-mapper's");
    }
    if (rc == -EEXIST) {
        return call_fail(call, ERROR_DEVICE_EXISTS, "There is a disk of that path or number.");
    }
    if (rc == 0) {
        result->device = (struct device){device.major, device.minor};
    }
    return rc;
}

int method_simulate_disk_remove(struct call *call, const struct simulate_disk_remove_params *params,
                                struct done *result)
{
    int rc = dmi_sim_disk_remove(call->host->sim, number_of(&params->number));

    if (rc == -ENXIO) {
        return call_fail(call, ERROR_DEVICE_NOT_FOUND, "There is no disk %u:%u.",
                         params->number.major, params->number.minor);
    }
    if (rc == -EBUSY) {
        return call_fail(call, ERROR_DEVICE_BUSY, "A table uses the disk %u:%u.",
                         params->number.major, params->number.minor);
    }
    result->done = rc == 0;
    return rc;
}

/* What the functions that touch one mapped device have in common: their errors, and the answer. */
static int answer(struct call *call, const struct dmi_id *id, int rc, struct device_info *result)
{
    struct dmi_info info;

    if (rc == -ENXIO) {
        return call_fail(call, ERROR_DEVICE_NOT_FOUND, "There is no %s.", call->subject);
    }
    if (rc == -ENODATA) {
        return call_fail(call, ERROR_NO_TABLE,
                         "On %s there is nothing to do that to: no table, or it is not held.",
                         call->subject);
    }
    if (rc == 0) {
        rc = dmi_device_status(&call->dm, id, 0, &info);
    }
    return rc < 0 ? rc : call_info(call, &info, result);
}

int method_simulate_event(struct call *call, const struct simulate_event_params *params,
                          struct device_info *result)
{
    struct dmi_id id = call_device(call);

    (void)params;
    return answer(call, &id, dmi_sim_event(call->host->sim, &id), result);
}

int method_simulate_hold(struct call *call, const struct simulate_hold_params *params,
                         struct device_info *result)
{
    struct dmi_id id = call_device(call);

    (void)params;
    return answer(call, &id, dmi_sim_hold(call->host->sim, &id), result);
}

int method_simulate_release(struct call *call, const struct simulate_release_params *params,
                            struct device_info *result)
{
    struct dmi_id id = call_device(call);
    int released = dmi_sim_release(call->host->sim, &id);
    int rc = answer(call, &id, released, result);

    (void)params;
    if (released == 0 && rc < 0) {
        (void)call_fail_kernel(call, rc);
        call->failure.data.state = "the device was released, and went with that";
        return CALL_FAILED;
    }
    return rc;
}

int method_simulate_stall(struct call *call, const struct simulate_stall_params *params,
                          struct device_info *result)
{
    struct dmi_id id = call_device(call);
    enum dmi_sim_stall stall = DMI_SIM_FLOWS;

    if (params->drain && params->freeze) {
        return call_fail_param(call, "/freeze", "not together with drain");
    }
    if (params->drain || params->freeze) {
        stall = params->drain ? DMI_SIM_DRAIN : DMI_SIM_FREEZE;
    }
    return answer(call, &id, dmi_sim_stall(call->host->sim, &id, stall), result);
}

static enum dmi_ioctl ioctl_of(const char *name)
{
    for (enum dmi_ioctl nr = DMI_VERSION; nr < DMI_IOCTL_COUNT; nr++) {
        if (strcmp(dmi_ioctl_name(nr), name) == 0) {
            return nr;
        }
    }
    return DMI_NONE;
}

int method_simulate_fault_add(struct call *call, const struct simulate_fault_add_params *params,
                              struct simulate_fault_add_result *result)
{
    struct dmi_sim_fault fault = {
        .nr = params->ioctl ? ioctl_of(params->ioctl) : DMI_NONE,
        .calls = params->calls,
        .error = (int)params->errnum,
        .block_ms = params->block_ms,
        .held = params->held,
        .signals = params->signals,
    };
    uint64_t id;

    if (params->ioctl && fault.nr == DMI_NONE) {
        return call_fail_param(call, "/ioctl", "no ioctl of device-mapper; one is DM_TABLE_LOAD");
    }
    if (params->name) {
        memcpy(fault.device, params->name, strlen(params->name) + 1);
    }
    int rc = dmi_sim_fault_add(call->host->sim, &fault, &id);
    if (rc == 0) {
        result->fault = id;
    }
    return rc;
}

int method_simulate_fault_remove(struct call *call,
                                 const struct simulate_fault_remove_params *params,
                                 struct done *result)
{
    if (params->has_fault) {
        (void)dmi_sim_fault_remove(call->host->sim, params->fault);
    } else {
        dmi_sim_fault_clear(call->host->sim);
    }
    result->done = true;
    return 0;
}
