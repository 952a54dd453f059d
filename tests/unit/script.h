/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script.h - a transport that expects requests and plays answers.
 *
 * A test lists the requests that a call must send, byte for byte, and what the
 * kernel does with each. Anything else that is sent, or not sent, fails the test.
 */
#ifndef SCRIPT_H
#define SCRIPT_H

#include <linux/dm-ioctl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dmioctl.h"
#include "transport.h"

enum {
    SCRIPT_KERNEL_MINOR = 47, /* unless the script says otherwise */
    SCRIPT_POLL_FD = 42,
};

/* Bytes that grow: the payload of a reply. */
struct script_bytes {
    unsigned char *data;
    size_t size;
    size_t capacity;
    size_t last; /* offset of the record added last */
};

void script_bytes_add(struct script_bytes *bytes, const void *data, size_t size);
void script_bytes_done(struct script_bytes *bytes);

/* Records as the kernel lays them out, linked to the one before. */
void script_add_device(struct script_bytes *bytes, uint64_t device, const char *name,
                       uint32_t event_nr, uint32_t flags, const char *uuid);
void script_add_device_old(struct script_bytes *bytes, uint64_t device, const char *name);
void script_add_version(struct script_bytes *bytes, const char *name, uint32_t major,
                        uint32_t minor, uint32_t patch);
void script_add_target(struct script_bytes *bytes, uint64_t start, uint64_t length,
                       const char *type, const char *params);

/* A table in a request: with `next` relative to the current spec. */
void script_add_request_target(struct script_bytes *bytes, uint64_t start, uint64_t length,
                               const char *type, const char *params);

/* How the kernel takes a request. */
enum script_act {
    SCRIPT_ECHO,      /* the header comes back as it went, data_size 305 */
    SCRIPT_ANSWER,    /* `reply` and `out` are copied to the buffer */
    SCRIPT_FULL,      /* DM_BUFFER_FULL, with the identity and flags overwritten */
    SCRIPT_FAIL,      /* `rc`, and nothing but the version is written */
    SCRIPT_REFUSE,    /* `rc`, and not even that: no privilege */
    SCRIPT_WIPE_FAIL, /* `rc`, and the whole buffer cleared, as for DM_SECURE_DATA */
    SCRIPT_SILENT,    /* 0, and nothing but the version is written */
};

struct script_step {
    enum dmi_ioctl nr;
    /* The request; what is not given is zeros. */
    uint32_t minor, flags, event_nr, target_count;
    uint64_t device;
    const char *name, *uuid;
    const void *in; /* the payload, at sizeof(struct dm_ioctl) */
    size_t in_size;
    size_t size; /* data_size; 0: up to the payload's end */
    /* The answer. */
    enum script_act act;
    int rc;
    struct dm_ioctl reply; /* version and sizes are filled in, if zero */
    const struct script_bytes *out;
};

struct script {
    struct dmi_transport transport;
    struct dmi dm;
    const struct script_step *steps;
    size_t count, next;
    uint32_t kernel_minor;
    /* Of the request seen last. */
    const void *buffer;
    size_t buffer_size;
};

/* Both borrowed. script->dm is ready for calls. */
void script_init(struct script *script, const struct script_step *steps, size_t count);

/* Fails where steps are left. */
void script_end(const struct script *script);

#define SCRIPT(script, ...)                                                                        \
    struct script script;                                                                          \
    struct script_step script##_steps[] = {__VA_ARGS__};                                           \
    script_init(&script, script##_steps, sizeof(script##_steps) / sizeof(script##_steps[0]))

/* A script that takes nothing: whatever is sent fails. */
void script_init_silent(struct script *script);

struct dmi_id script_by_name(const char *name);
struct dmi_id script_by_uuid(const char *uuid);
struct dmi_id script_by_device(uint32_t major, uint32_t minor);

#endif
