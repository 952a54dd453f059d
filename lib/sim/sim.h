/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - a simulated kernel's device-mapper, behind transport.h.
 *
 * It answers as Linux 6.1 (Debian 12, interface 4.47.0) does, byte for byte
 * where a caller can see it; there is no data path. Everything lives in one
 * struct dmi_sim and is gone with it.
 *
 * The functions here are what a real machine has besides device-mapper's own
 * interface (disks, users of devices, the kernel's log) and what a test needs
 * (faults, a clock). All of them may be called from any thread at any time,
 * also while ioctls block. They return 0 or a negative errno; `ret_` arguments
 * are untouched on failure.
 */
#ifndef DMI_SIM_H
#define DMI_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../dmioctl.h"

struct dmi_sim;
struct dmi_transport;

enum { DMI_SIM_MAJOR = 254 }; /* the block major that device-mapper has here */

int dmi_sim_new(struct dmi_sim **ret_sim);

/* Takes NULL. Returns NULL. No call may be running, and no transport may be open. */
struct dmi_sim *dmi_sim_free(struct dmi_sim *sim);

/*
 * An open file on the simulated control node: its ioctl() works as ioctl(2)
 * does, poll_fd() and reopen() as on the real one. To be freed before `sim`.
 * A signal ends the waits that it would end in the kernel (-EINTR).
 */
int dmi_sim_open(struct dmi_sim *sim, struct dmi_transport **ret_transport);

/* --- disks: what tables can map --- */

enum { DMI_SIM_PATH_MAX = 63 };

struct dmi_sim_disk {
    char path[DMI_SIM_PATH_MAX + 1]; /* such as "/dev/sim0" */
    struct dmi_device device;        /* 0:0 in dmi_sim_disk_add: a free number of major 259 */
    uint64_t sectors;                /* of 512 bytes */
    uint32_t block_size;             /* logical, in bytes; 0 in dmi_sim_disk_add: 512 */
    bool read_only;                  /* device-mapper of 6.1 does not mind */
    bool claimed;                    /* something else (a mount, swap) has it exclusively */
    unsigned int users;              /* output: mapped devices that have it open */
};

/*
 * Adds a disk. `ret_device` may be NULL. -EINVAL: the path is empty, longer than
 * DMI_SIM_PATH_MAX or not below /, the block size no power of two from 512 to
 * 4096, or the number is device-mapper's or out of range; -EEXIST: path or
 * number is taken.
 */
int dmi_sim_disk_add(struct dmi_sim *sim, const struct dmi_sim_disk *disk,
                     struct dmi_device *ret_device);

/* -ENXIO: no such disk. -EBUSY: a table uses it (remove and claim only). */
int dmi_sim_disk_remove(struct dmi_sim *sim, struct dmi_device device);
/*
 * Disks keep the metadata that targets wrote on them (thin pools, persistent
 * snapshots, caches); this makes one blank again. -EBUSY: a table uses it.
 */
int dmi_sim_disk_wipe(struct dmi_sim *sim, struct dmi_device device);

int dmi_sim_disk_resize(struct dmi_sim *sim, struct dmi_device device, uint64_t sectors);
int dmi_sim_disk_claim(struct dmi_sim *sim, struct dmi_device device, bool claimed);

/* The disk or mapped device at an absolute path, as udev would have made it. 0 or -ENOENT. */
int dmi_sim_find(struct dmi_sim *sim, const char *path, struct dmi_device *ret_device);

/* The device's node, and /dev/mapper/NAME of a mapped one; "" where there is none. */
void dmi_sim_name(struct dmi_sim *sim, struct dmi_device device, char *ret_node, char *ret_mapped,
                  size_t size);

/* All disks, oldest first, to be freed with free(); *ret_disks is NULL if there are none. */
int dmi_sim_disks(struct dmi_sim *sim, struct dmi_sim_disk **ret_disks, size_t *ret_count);

/*
 * A key in the kernel's keyring, for crypt tables that name one (`:64:logon:name`):
 * `name` is "type:description", `size` its bytes. There is no key material.
 * -EINVAL: not such a name; -EEXIST.
 */
int dmi_sim_key_add(struct dmi_sim *sim, const char *name, uint32_t size);

/* --- what happens to a mapped device from outside. -ENXIO: no such device --- */

/* A target of the live table raises an event. -ENODATA: there is no live table. */
int dmi_sim_event(struct dmi_sim *sim, const struct dmi_id *id);

/*
 * Opens the device's block device, as a mount or a program would; counted. Its
 * last close removes a device that waits for it (DM_DEFERRED_REMOVE).
 * -ENODATA: the block device does not exist before the first table load.
 */
int dmi_sim_hold(struct dmi_sim *sim, const struct dmi_id *id);

/* Undoes one dmi_sim_hold. -ENODATA: it is not held. */
int dmi_sim_release(struct dmi_sim *sim, const struct dmi_id *id);

/* What a suspend of the device has to wait for, until it is told otherwise. */
enum dmi_sim_stall {
    DMI_SIM_FLOWS,  /* nothing */
    DMI_SIM_DRAIN,  /* I/O in flight: every suspend waits; a signal ends and undoes it */
    DMI_SIM_FREEZE, /* the file system's freeze: suspends with lockfs wait; no signal ends it */
};
int dmi_sim_stall(struct dmi_sim *sim, const struct dmi_id *id, enum dmi_sim_stall stall);

/* --- faults --- */

/*
 * What the next calls meet once their request was copied in. First they wait
 * (`held`: until the fault is removed; else `block_ms`), and then they fail with
 * `error`, or go on if that is 0. Faults are tried oldest first; one applies to
 * a call.
 */
struct dmi_sim_fault {
    enum dmi_ioctl nr;             /* DMI_NONE: any but DMI_VERSION */
    char device[DMI_NAME_MAX + 1]; /* by name; "": any, or none */
    uint32_t calls;                /* for so many calls; 0: until removed */
    int error;                     /* a positive errno, or 0 */
    uint32_t block_ms;             /* by the simulated clock */
    bool held;
    bool signals; /* a signal ends the wait: -EINTR */
};

struct dmi_sim_fault_state {
    uint64_t id;
    struct dmi_sim_fault fault; /* `calls`: what is left */
    uint32_t waiting;           /* calls that wait in it now */
};

/* -EINVAL: not an ioctl, a negative or too large errno, a name that is not NUL-terminated. */
int dmi_sim_fault_add(struct dmi_sim *sim, const struct dmi_sim_fault *fault, uint64_t *ret_id);

/* Calls that wait in it go on. -ENOENT: no such fault, or it is used up and nobody waits. */
int dmi_sim_fault_remove(struct dmi_sim *sim, uint64_t id);
void dmi_sim_fault_clear(struct dmi_sim *sim);

/* As dmi_sim_disks. */
int dmi_sim_faults(struct dmi_sim *sim, struct dmi_sim_fault_state **ret_faults, size_t *ret_count);

/* --- time --- */

/*
 * The first call stops the simulated clock, which is CLOCK_MONOTONIC until then;
 * each moves it by `ms`. Only `block_ms` depends on it.
 */
void dmi_sim_clock_advance(struct dmi_sim *sim, uint64_t ms);

/* --- the kernel's log --- */

/*
 * Lines as in /dev/kmsg, without priority and time, such as
 * "device-mapper: table: 254:0: linear: Device lookup failed (-ENODEV)".
 * `*cursor` is the number of the line wanted; 0 is the oldest that is kept. Copies
 * it (cut to `size`) and moves the cursor past it. 1: a line; 0: no line yet. The
 * last 1,024 lines are kept; a cursor before them skips.
 */
int dmi_sim_log(struct dmi_sim *sim, uint64_t *cursor, char *ret_line, size_t size);

/* The cursor that skips what the log holds now. */
uint64_t dmi_sim_log_end(struct dmi_sim *sim);

#endif
