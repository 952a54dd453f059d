/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The road from a call to the rules: which of its names count, when the kernel is asked for
 * more of them, and what is said to whoever is refused.
 */
#include "access.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"

/* --- one question --- */

struct rules_device access_device(const struct dmi_id *id)
{
    return (struct rules_device){
        .name = id->kind == DMI_BY_NAME ? id->name : NULL,
        .uuid = id->kind == DMI_BY_UUID ? id->uuid : NULL,
    };
}

static struct rules_answer ask_by(const struct access_question *question,
                                  const struct method *method, const struct dmi_id *id)
{
    return rules_device(question->rules, &question->who, method, access_device(id));
}

/* What a device is called may allow what the caller's own word for it does not. */
static int ask_kernel(struct dmi *dm, const struct access_question *question,
                      struct access_answer *answer)
{
    struct dmi_info info;
    int rc = dmi_device_status(dm, question->device, 0, &info);

    if (rc < 0) {
        return rc == -ENXIO ? 0 : rc; /* not there: denied, as if it were */
    }
    answer->by = rules_device(question->rules, &question->who, question->method,
                              (struct rules_device){info.name, info.uuid});
    if (answer->by.match == RULES_BY_NAME) {
        (void)snprintf(answer->text, sizeof(answer->text), "%s", info.name);
        answer->id = (struct dmi_id){.kind = DMI_BY_NAME, .name = answer->text};
    } else if (answer->by.match == RULES_BY_UUID) {
        (void)snprintf(answer->text, sizeof(answer->text), "%s", info.uuid);
        answer->id = (struct dmi_id){.kind = DMI_BY_UUID, .uuid = answer->text};
    }
    return 0;
}

static int ask_device(struct dmi *dm, const struct access_question *question,
                      struct access_answer *answer)
{
    int rc = 0;

    answer->id = *question->device;
    answer->by = ask_by(question, question->method, question->device);
    if (answer->by.match == RULES_DENIED &&
        rules_any(question->rules, &question->who, question->method).match != RULES_DENIED) {
        rc = ask_kernel(dm, question, answer);
    }
    if (answer->by.match == RULES_DENIED) {
        call_describe(question->device, answer->what, sizeof(answer->what));
    }
    return rc;
}

/* One more name that must be allowed; the answer is the first one's, or the first refusal. */
static void ask_name(const struct access_question *question, const char *word,
                     const struct dmi_id *id, struct access_answer *answer)
{
    const char *value = id->kind == DMI_BY_NAME ? id->name : id->uuid;

    if (!value || (answer->by.match == RULES_DENIED && answer->what[0])) {
        return;
    }
    struct rules_answer by = ask_by(question, question->method, id);
    if (by.match == RULES_DENIED) {
        (void)snprintf(answer->what, sizeof(answer->what), "%s '%s'", word, value);
    }
    if (by.match == RULES_DENIED || answer->by.match == RULES_DENIED) {
        answer->by = by;
    }
}

/* The kernel takes names here, so only rights to names count, and to the uuid that is set. */
static void ask_names(const struct access_question *question, struct access_answer *answer)
{
    const struct dmi_id new_name = {.kind = DMI_BY_NAME, .name = question->new_name};
    const struct dmi_id new_uuid = {.kind = DMI_BY_UUID, .uuid = question->new_uuid};

    answer->id = *question->device;
    ask_name(question, "device", question->device, answer);
    ask_name(question, "the new name", &new_name, answer);
    ask_name(question, "the uuid", &new_uuid, answer);
}

int access_ask(struct dmi *dm, const struct access_question *question,
               struct access_answer *ret_answer)
{
    const struct method *method = question->method;
    int rc = 0;

    *ret_answer = (struct access_answer){.by = {.match = RULES_DENIED, .rule = RULES_NO_RULE}};
    if (method->scope == SCOPE_SERVER) {
        ret_answer->by = rules_any(question->rules, &question->who, method);
        ret_answer->id = question->device ? *question->device : (struct dmi_id){0};
    } else if (!question->device) {
        ret_answer->by = rules_all(question->rules, &question->who, method);
        (void)strcpy(ret_answer->what, "all devices");
    } else if (method->scope == SCOPE_NAME) {
        ask_names(question, ret_answer);
    } else {
        rc = ask_device(dm, question, ret_answer);
    }
    return rc;
}

bool access_allows(const struct rules *rules, const struct peer *peer, const char *method)
{
    const struct rules_who who = peer_who(peer);

    return rules_any(rules, &who, method_find(method)).match != RULES_DENIED;
}

bool access_sees(const struct rules *rules, const struct peer *peer, const struct method *method,
                 const char *name, const char *uuid)
{
    const struct rules_who who = peer_who(peer);

    return rules_device(rules, &who, method, (struct rules_device){name, uuid}).match !=
           RULES_DENIED;
}

/* --- calls --- */

static int deny(struct call *call, const char *what)
{
    unsigned int uid = (unsigned int)call->peer.uid;

    if (rules_configured(call->rules)) {
        (void)call_fail(call, ERROR_PERMISSION_DENIED,
                        "User id %u may not call %s%s%s: no rule allows it.", uid,
                        call->method->name, *what ? " on " : "", what);
    } else {
        (void)call_fail(call, ERROR_PERMISSION_DENIED,
                        "User id %u may not call %s: who is neither root nor the daemon's own user "
                        "may only read.",
                        uid, call->method->name);
    }
    call->failure.data.hint = "access_explain tells what the rules let you do";
    return CALL_FAILED;
}

int access_enter(struct call *call)
{
    const struct rules_who who = peer_who(&call->peer);
    bool allowed = rules_any(call->rules, &who, call->method).match != RULES_DENIED;

    return allowed ? 0 : deny(call, "");
}

static struct access_question question_of(const struct call *call)
{
    return (struct access_question){
        .rules = call->rules,
        .who = peer_who(&call->peer),
        .method = call->method,
        .device = call->has_asked ? &call->now : NULL,
        .new_name = json_string_value(json_object_get(call->params_json, "new_name")),
        .new_uuid = call->method->scope == SCOPE_NAME
                        ? json_string_value(json_object_get(call->params_json, "uuid"))
                        : NULL,
    };
}

int access_judge(struct call *call)
{
    const struct access_question question = question_of(call);
    struct access_answer answer;
    int rc = access_ask(&call->dm, &question, &answer);

    if (rc < 0) {
        return call_fail_kernel(call, rc);
    }
    if (answer.by.match == RULES_DENIED) {
        return deny(call, answer.what);
    }
    call->by = answer.id;
    if (answer.text[0]) { /* the kernel's word, not the caller's */
        memcpy(call->by_text, answer.text, sizeof(call->by_text));
        if (answer.id.kind == DMI_BY_NAME) {
            call->by.name = call->by_text;
        } else {
            call->by.uuid = call->by_text;
        }
    }
    return 0;
}

bool access_may_write(const struct call *call)
{
    const struct access_question question = question_of(call);

    return ask_by(&question, method_find("table_load"), &call->by).match != RULES_DENIED;
}

bool access_may_show_keys(const struct call *call)
{
    const struct rules_who who = peer_who(&call->peer);

    return rules_show_keys(call->rules, &who, call->method, access_device(&call->by));
}

/* --- what tables lie on --- */

static struct under_ask under_ask_of(const struct call *call, const struct rules_who *who)
{
    return (struct under_ask){
        .host = &call->host->block,
        .rules = call->rules,
        .who = who,
        .method = call->method,
        .device = access_device(&call->by),
    };
}

static int refuse_under(struct call *call, const struct under_refusal *refusal, const char *state)
{
    char where[32] = "the table";

    if (refusal->has_line) {
        (void)snprintf(where, sizeof(where), "line %zu", refusal->line + 1);
    }
    (void)call_fail(call, ERROR_PERMISSION_DENIED,
                    "User id %u may not load that table into %s: of %s, %s.",
                    (unsigned int)call->peer.uid, call->subject, where, refusal->reason);
    call->failure.data.state = state;
    call->failure.data.hint = "access_explain lists what tables of the device may lie on";
    return CALL_FAILED;
}

int access_check_lines(struct call *call, const struct dmi_table *table,
                       struct under_allowed *ret_allowed)
{
    const struct rules_who who = peer_who(&call->peer);
    const struct under_ask ask = under_ask_of(call, &who);
    struct under_refusal refusal;
    int rc = under_allowed_lines(&ask, table->targets, table->count, ret_allowed, &refusal);

    call->dm.last = DMI_NONE; /* -ENOMEM is no ioctl's */
    return rc == -EACCES ? refuse_under(call, &refusal, "as before: nothing was loaded") : rc;
}

static int clear_loaded(struct call *call, const struct dmi_id *id)
{
    struct dmi_info info;
    int rc = dmi_table_clear(&call->dm, id, &info);

    if (rc < 0) {
        (void)snprintf(call->failure.state, sizeof(call->failure.state),
                       "the inactive table is STILL LOADED: to clear it failed (%s)",
                       strerrorname_np(-rc));
        call->failure.data.state = call->failure.state;
        call->failure.data.hint =
            "table_clear drops it; until then nobody should resume the device";
    }
    return CALL_FAILED;
}

int access_check_loaded(struct call *call, struct dmi_device device,
                        const struct under_allowed *allowed)
{
    static const char cleared[] = "the inactive table was cleared; the live one is as before";
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = device};
    const struct rules_who who = peer_who(&call->peer);
    const struct under_ask ask = under_ask_of(call, &who);
    struct under_refusal refusal;
    struct dmi_deps deps;

    if (under_anything(&ask)) {
        return 0;
    }
    int rc = dmi_table_deps(&call->dm, &id, DMI_QUERY_INACTIVE_TABLE, &deps);
    if (rc < 0) {
        (void)call_fail_kernel(call, rc);
        call->failure.data.state = cleared;
        return clear_loaded(call, &id);
    }
    rc = under_allowed_deps(&ask, allowed, deps.devices, deps.count, &refusal);
    dmi_deps_done(&deps);
    if (rc < 0) {
        (void)refuse_under(call, &refusal, cleared);
        return clear_loaded(call, &id);
    }
    return 0;
}

/* --- other calls --- */

bool access_may_end(struct call *call, const struct call *other)
{
    const struct access_question question = {
        .rules = call->rules,
        .who = peer_who(&call->peer),
        .method = method_find("table_load"),
        .device = other->has_asked ? &other->asked : NULL,
    };
    struct access_answer answer;

    return other->peer.uid == call->peer.uid ||
           (access_ask(&call->dm, &question, &answer) == 0 && answer.by.match != RULES_DENIED);
}

bool access_may_know(const struct call *call, const struct call *other)
{
    const struct access_question question = question_of(call);
    const struct method *lists = method_find("calls_list");

    if (other->peer.uid == call->peer.uid) {
        return true;
    }
    return (other->has_asked ? ask_by(&question, lists, &other->asked)
                             : rules_any(question.rules, &question.who, lists))
               .match != RULES_DENIED;
}
