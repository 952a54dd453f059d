/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.h - what the rules let a call do.
 *
 * What rules.h says of a peer is asked here and nowhere else, and a call goes by the identifier
 * that a rule allows: a right to a name is none to the device that bears the name a moment later.
 * What a caller may not touch looks the same as what is not there.
 */
#ifndef DMRPC_ACCESS_H
#define DMRPC_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "dmioctl.h"
#include "method.h"
#include "peer.h"
#include "rules.h"
#include "under.h"

struct call;

/* --- one question --- */

struct access_question {
    const struct rules *rules;
    struct rules_who who;
    const struct method *method;
    const struct dmi_id *device; /* as the caller named it; NULL: not at all */
    const char *new_name;        /* that the call gives; NULL: none */
    const char *new_uuid;
};

struct access_answer {
    struct rules_answer by; /* RULES_DENIED: denied */
    struct dmi_id id;       /* allowed, with a device: what the kernel is to be told; borrowed */
    char text[DMI_UUID_MAX + 1];
    char what[256]; /* denied: on what, for people; "": on anything */
};

/*
 * Answers it. Where only what the device is called can tell, the kernel is asked for that. 0;
 * or a negative errno of the kernel, which says nothing of whether the device is there.
 */
int access_ask(struct dmi *dm, const struct access_question *question,
               struct access_answer *ret_answer);

/* The device, by an identifier alone: whatever else one that bears it is called. */
struct rules_device access_device(const struct dmi_id *id);

/* May a peer call the method of this name, on some device at least? */
bool access_allows(const struct rules *rules, const struct peer *peer, const char *method);

/* May it see such a device by that method? `uuid` may be NULL or "": it has none. */
bool access_sees(const struct rules *rules, const struct peer *peer, const struct method *method,
                 const char *name, const char *uuid);

/* --- calls; those that run on a worker are asked about there --- */

/* At once, before the params are known: 0, or CALL_FAILED with permission_denied. */
int access_enter(struct call *call);

/*
 * Judges a call whose params are known, before it waits and again before it runs, and sets
 * call->by. 0, or CALL_FAILED with the call's failure set.
 */
int access_judge(struct call *call);

/*
 * May the caller write to the device of a call that was judged? The right to table_load counts,
 * and only that to the identifier by which the call goes.
 */
bool access_may_write(const struct call *call);

/* The same for key material in what the call answers. */
bool access_may_show_keys(const struct call *call);

/*
 * Before a load: may a table of these lines lie on what they name? 0, or CALL_FAILED.
 * *ret_allowed is for access_check_loaded; under_allowed_done in any case.
 */
int access_check_lines(struct call *call, const struct dmi_table *table,
                       struct under_allowed *ret_allowed);

/*
 * After it, since paths can have come to lead elsewhere: of the devices that the kernel has
 * opened for the inactive table, which is cleared where it may not be. 0, or CALL_FAILED.
 */
int access_check_loaded(struct call *call, struct dmi_device device,
                        const struct under_allowed *allowed);

/*
 * May a call end another one? All may end those of their own user id; those of others, who may
 * write to what they are about: a device, or, where they name none, all.
 */
bool access_may_end(struct call *call, const struct call *other);

/*
 * Is another call shown? Those of the own user id are; of others, to who may call calls_list,
 * those that name no device, and those that name one as a rule allows it to be seen.
 */
bool access_may_know(const struct call *call, const struct call *other);

#endif
