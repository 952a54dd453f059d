/* SPDX-License-Identifier: Apache-2.0 */
/*
 * type.h - target types: what a target_*.c file offers, and which are loaded.
 */
#ifndef SIM_TYPE_H
#define SIM_TYPE_H

#include <stddef.h>
#include <stdint.h>

#include "args.h"
#include "text.h"

struct dmi_sim;
struct sim_dev;
struct sim_limits;
struct sim_target;

/* Features that the table code and table_load heed (dm_target_* of device-mapper.h). */
enum {
    SIM_SINGLETON = 1 << 0,
    SIM_ALWAYS_WRITEABLE = 1 << 1,
    SIM_IMMUTABLE = 1 << 2,
    SIM_WILDCARD = 1 << 3,
    SIM_DISCARDS = 1 << 4, /* passes discards down if its devices take them */
};

enum sim_status { SIM_STATUS_INFO, SIM_STATUS_TABLE, SIM_STATUS_IMA };

/* iterate_devices_callout_fn: non-zero ends the walk. */
typedef int (*sim_iterate_fn)(struct sim_target *target, struct sim_dev *dev, uint64_t start,
                              uint64_t length, void *data);

/* Operations may be NULL but for the constructor. */
struct sim_target_type {
    const char *name;
    uint32_t version[3];
    unsigned int features;

    /* Sets target->error where it fails. `argv` is its own to change. */
    int (*ctr)(struct sim_target *target, unsigned int argc, char **argv);
    void (*dtr)(struct sim_target *target);
    void (*status)(struct sim_target *target, enum sim_status kind, struct sim_text *out);

    /* As the kernel's: 1 if it put an answer in `out`. */
    int (*message)(struct sim_target *target, unsigned int argc, char **argv, struct sim_text *out);
    int (*iterate)(struct sim_target *target, sim_iterate_fn fn, void *data);
    /* For targets that only move sectors: where `offset` of the target lies. */
    void (*map)(struct sim_target *target, uint64_t offset, struct sim_dev **ret_dev,
                uint64_t *ret_sector);
    void (*io_hints)(struct sim_target *target, struct sim_limits *limits);

    void (*presuspend)(struct sim_target *target);
    void (*presuspend_undo)(struct sim_target *target);
    void (*postsuspend)(struct sim_target *target);
    int (*preresume)(struct sim_target *target);
    void (*resume)(struct sim_target *target);
};

enum { SIM_TYPES_MAX = 32 };

/* The types that are registered, the latest first, as the kernel lists them. */
struct sim_types {
    const struct sim_target_type *loaded[SIM_TYPES_MAX];
    size_t count;
};

/* What dm-mod itself brings. */
void sim_types_init(struct sim_types *types);

/* dm_get_target_type(): loads the module that `name` asks for. NULL: there is no such type. */
const struct sim_target_type *sim_types_get(struct dmi_sim *sim, const char *name);

/* The head of an IMA measurement: "target_name=NAME,target_version=1.2.3". */
void sim_emit_type(struct sim_text *out, const struct sim_target_type *type);

extern const struct sim_target_type sim_target_cache;
extern const struct sim_target_type sim_target_crypt;
extern const struct sim_target_type sim_target_delay;
extern const struct sim_target_type sim_target_error;
extern const struct sim_target_type sim_target_flakey;
extern const struct sim_target_type sim_target_linear;
extern const struct sim_target_type sim_target_mirror;
extern const struct sim_target_type sim_target_raid;
extern const struct sim_target_type sim_target_snapshot;
extern const struct sim_target_type sim_target_snapshot_merge;
extern const struct sim_target_type sim_target_snapshot_origin;
extern const struct sim_target_type sim_target_striped;
extern const struct sim_target_type sim_target_thin;
extern const struct sim_target_type sim_target_thin_pool;
extern const struct sim_target_type sim_target_zero;

#endif
