/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - one ioctl under way: the kernel's own copy of the request, which its
 * handler turns into the reply.
 */
#ifndef SIM_CALL_H
#define SIM_CALL_H

#include <linux/dm-ioctl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "state.h"
#include "text.h"

struct sim_device;
struct sim_table;

struct sim_call {
    struct dmi_sim *sim;
    struct sim_file *file;
    struct dm_ioctl *param; /* `size` bytes, aligned for anything */
    size_t size;
};

/* Each answers in call->param and returns what the ioctl returns but for copying. */
int sim_call_remove_all(struct sim_call *call);
int sim_call_list_devices(struct sim_call *call);
int sim_call_list_versions(struct sim_call *call);
int sim_call_target_version(struct sim_call *call);
int sim_call_arm_poll(struct sim_call *call);

int sim_call_create(struct sim_call *call);
int sim_call_remove(struct sim_call *call);
int sim_call_rename(struct sim_call *call);
int sim_call_suspend(struct sim_call *call);
int sim_call_status(struct sim_call *call);
int sim_call_geometry(struct sim_call *call);

int sim_call_load(struct sim_call *call);
int sim_call_clear(struct sim_call *call);
int sim_call_deps(struct sim_call *call);
int sim_call_table_status(struct sim_call *call);
int sim_call_wait(struct sim_call *call);
int sim_call_message(struct sim_call *call);

/* --- what they share (call.c) --- */

enum { SIM_NO_PARAMS_SIZE = offsetof(struct dm_ioctl, data) };

/*
 * __find_device_hash_cell(): the device that the request names, or NULL; writes its
 * name, uuid and DM_INACTIVE_PRESENT_FLAG into the request.
 */
struct sim_device *sim_call_find(struct sim_call *call);

/* The device that the request names, and nothing written. */
struct sim_device *sim_call_peek(struct dmi_sim *sim, const struct dm_ioctl *param);

/* __dev_status() */
void sim_call_fill(struct sim_call *call, const struct sim_device *device);

/* get_result_buffer(): sets data_start; *ret_length is 0 if the request has no room for output. */
char *sim_call_result(struct sim_call *call, size_t *ret_length);

/* The string at `offset` of the request, or NULL if it does not end inside. */
char *sim_call_string(const struct sim_call *call, uint64_t offset);

/* The table that the request asks about, or NULL. */
struct sim_table *sim_call_table(const struct sim_call *call, const struct sim_device *device);

/* Sets DM_UEVENT_GENERATED_FLAG if there is a block device for the uevent to come from. */
void sim_call_uevent(struct sim_call *call, const struct sim_device *device);

uint64_t sim_encode_dev(uint32_t major, uint32_t minor);
size_t sim_align(size_t value);

#endif
