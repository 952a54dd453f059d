/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit.h - one record of what was changed, or refused, by whom, and how it came out.
 *
 * The schema's AuditRecord is its form. What is known of a call is noted while its params
 * are there; when it has ended, a record of fixed size goes to the log's thread (log.h),
 * which prints it: for journald by its own protocol, or else as a line of JSON on stderr.
 * So nobody waits for a record, and none asks for memory before it is there. What stands in
 * table lines and messages is never looked at, but for a target's type and a message's
 * first word. Loop thread only, where nothing else is said.
 */
#ifndef DMRPC_AUDIT_H
#define DMRPC_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "dmioctl.h"
#include "log.h"

struct call;
struct dispatcher;
struct failure;
struct peer;

enum { AUDIT_TYPES = 8, AUDIT_WORD_MAX = 24, AUDIT_PEERS = 64, AUDIT_UNIT_MAX = 255 };

/* What a call is about, as it was asked and as its turn found it; in each struct call. */
struct audit_subject {
    char name[DMI_NAME_MAX + 1], uuid[DMI_UUID_MAX + 1]; /* the device's; or "" */
    char new_name[DMI_NAME_MAX + 1], new_uuid[DMI_UUID_MAX + 1];
    char types[AUDIT_TYPES][DMI_TYPE_MAX + 1]; /* of the table's targets, each once */
    size_t types_count;
    size_t target_count;
    char word[AUDIT_WORD_MAX + 1]; /* a message's first */
    uint32_t flags;                /* enum dmi_flag: as asked */
};

struct audit_peer {
    pid_t pid;
    uint64_t connection;
};

/* What the log's thread has for itself. */
struct audit_sink {
    const char *instance; /* borrowed */
    uint64_t last_seq;    /* written */
    struct {
        struct audit_peer peer;
        char unit[AUDIT_UNIT_MAX + 1];
    } units[AUDIT_PEERS];
};

/* In the dispatcher; begins zeroed. */
struct audit {
    uint64_t last_seq;
    struct audit_peer told[AUDIT_PEERS]; /* whose unit the log's thread was asked for */
    struct audit_sink sink;
};

/* For log_start; `instance` is borrowed, and so is `audit`, until log_stop. */
struct log_writer audit_writer(struct audit *audit, const char *instance);

/* A call has come that may be recorded: its method and peer are known, its params as they came. */
void audit_begun(struct call *call);

/* Its params are what the schema says. Any thread. */
void audit_decoded(struct call *call);

/* Its turn has come, and the device is this. */
void audit_found(struct call *call, const struct dmi_info *info);

/* It has ended, with `failure` where its id says so; or it was given up. */
void audit_ended(struct call *call, const struct failure *failure);

/* A peer who asked without a call for what `method` answers, as by GET, was refused it. */
void audit_refused(struct dispatcher *dispatcher, const struct peer *peer, const char *method);

/* A call that had been given up has ended. */
void audit_ended_late(struct call *call);

/* A lease was ended by us, or could not be. */
struct audit_lease {
    struct dmi_device device;
    const char *name, *uuid; /* or "" */
    pid_t pid;               /* who suspended it: */
    uid_t uid;
    uint64_t connection; /* 0: none */
    const char *outcome; /* a word of AuditRecord's, and */
    const char *reason;  /* another */
    int rc;              /* negative: why it could not be resumed, by */
    const char *ioctl;   /* this; or NULL */
    uint64_t held_ns;    /* since the suspend */
};
void audit_lease_ended(struct dispatcher *dispatcher, const struct audit_lease *lease);

/*
 * Something of the server itself: `kind` and `outcome` are words of AuditRecord's, which live
 * as long as the program; `detail` is for people, cut at 255 bytes, or NULL.
 */
void audit_server(struct dispatcher *dispatcher, const char *kind, const char *outcome,
                  const char *detail);

#endif
