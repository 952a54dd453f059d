/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.h - who may do what with which device.
 *
 * Rules only allow: their order does not matter, and what none of them allows is denied.
 * Where nothing is configured there are two, so that there is always one road: root and the
 * daemon's own user may do all, whoever else can open the socket may read.
 *
 * A set of rules never changes; a reload makes another one, and whoever still uses the old
 * one keeps it. So all of this is for any thread. It knows neither calls nor the kernel.
 */
#ifndef DMRPC_RULES_H
#define DMRPC_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "method.h"

/* Whom a rule allows. */
enum rule_who_kind { RULE_ANY, RULE_UID, RULE_GID };

struct rule_who {
    enum rule_who_kind kind;
    uint32_t id;
};

/* Which devices: by name or by uuid, as fnmatch(3) without flags. */
enum rule_by { RULE_BY_NAME, RULE_BY_UUID };

struct rule_glob {
    enum rule_by by;
    const char *glob;
};

struct rule {
    const char *name; /* how it is called in answers; "" where it has none */
    const struct rule_who *who;
    size_t who_count;
    bool show_keys;             /* table_status may show key material */
    uint32_t effects;           /* a bit for each enum method_effect: those methods, */
    const char *const *methods; /* and these */
    size_t methods_count;
    const struct rule_glob *devices; /* of none: all, and calls that concern all of them */
    size_t devices_count;
    const char *const *under; /* what tables may lie on, by under.h; of none: anything */
    size_t under_count;
};

struct rules;

/* Copies `count` rules, strings too. `configured`: false for the built-in ones. 0 or -ENOMEM. */
int rules_new(const struct rule *rules, size_t count, bool configured, struct rules **ret_rules);

/* Those that hold where none are configured; `own` is the daemon's user. 0 or -ENOMEM. */
int rules_new_builtin(uid_t own, struct rules **ret_rules);

struct rules *rules_ref(struct rules *rules);

/* Takes NULL. Returns NULL. Secrets are none in here. */
struct rules *rules_unref(struct rules *rules);

bool rules_configured(const struct rules *rules);
size_t rules_count(const struct rules *rules);
const struct rule *rules_at(const struct rules *rules, size_t i);

/* Is the method among those that the rule is about? */
bool rules_takes_method(const struct rule *rule, const struct method *method);

/* Who asks, by the numbers that the kernel gave when it connected. */
struct rules_who {
    uid_t uid;
    gid_t gid;
    const gid_t *groups; /* the supplementary ones */
    size_t groups_count;
};

/* What a device is called, as far as that is known; each NULL where it is not, or there is none. */
struct rules_device {
    const char *name, *uuid;
};

/* How a device was found to be allowed, and so how the kernel must be told of it. */
enum rules_match {
    RULES_DENIED,
    RULES_ALL,     /* a rule for all devices: by whatever the caller said */
    RULES_BY_NAME, /* only because of its name, */
    RULES_BY_UUID, /* or of its uuid */
};

enum { RULES_NO_RULE = -1 };

struct rules_answer {
    enum rules_match match;
    int rule; /* the first that allows it, from 0; RULES_NO_RULE */
};

/* May `who` call `method` on some device at least? */
struct rules_answer rules_any(const struct rules *rules, const struct rules_who *who,
                              const struct method *method);

/* On all devices, or without one? Only a rule without globs says yes. */
struct rules_answer rules_all(const struct rules *rules, const struct rules_who *who,
                              const struct method *method);

/* On this device? A rule for all devices is preferred to a name, and a name to a uuid. */
struct rules_answer rules_device(const struct rules *rules, const struct rules_who *who,
                                 const struct method *method, struct rules_device device);

/* Is it rule `i`, among others, that allows it on this device? */
bool rules_allow_by(const struct rules *rules, size_t i, const struct rules_who *who,
                    const struct method *method, struct rules_device device);

/*
 * May a table of this device lie on one that goes by `names` (a path, or major:minor); with none,
 * on anything? One rule must allow both. By fnmatch(3) with FNM_PATHNAME: a * takes no slash.
 */
bool rules_under(const struct rules *rules, const struct rules_who *who,
                 const struct method *method, struct rules_device device, const char *const *names,
                 size_t count);

/* May `who` be shown the keys of this device's table by `method`? */
bool rules_show_keys(const struct rules *rules, const struct rules_who *who,
                     const struct method *method, struct rules_device device);

#endif
