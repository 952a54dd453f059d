/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_explain: what access.h would say of a call.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "call.h"

/* A question, and what becomes of it. */
struct inquiry {
    struct call *call;
    struct access_question question;
    struct access_answer answer;
    struct dmi_id device;
    char about[256];        /* "all devices", "device 'x'" */
    struct rules_device by; /* which it would go */
};

static int take_device(struct inquiry *inquiry, const struct access_explain_params *params)
{
    int given = (params->name != NULL) + (params->uuid != NULL) + params->has_device;

    if (given > 1) {
        return call_fail_param(inquiry->call, "", "only one of name, uuid and device can be given");
    }
    if (params->name) {
        inquiry->device = (struct dmi_id){.kind = DMI_BY_NAME, .name = params->name};
    } else if (params->uuid) {
        inquiry->device = (struct dmi_id){.kind = DMI_BY_UUID, .uuid = params->uuid};
    } else if (params->has_device) {
        inquiry->device = (struct dmi_id){.kind = DMI_BY_DEVICE,
                                          .device = {params->device.major, params->device.minor}};
    }
    if (given > 0 && inquiry->question.method->scope == SCOPE_NAME && !params->name) {
        return call_fail_param(inquiry->call, "/name", "missing: the method takes nothing else");
    }
    inquiry->question.device = given > 0 ? &inquiry->device : NULL;
    if (given > 0) {
        call_describe(&inquiry->device, inquiry->about, sizeof(inquiry->about));
    } else {
        (void)strcpy(inquiry->about, "all devices");
    }
    return 0;
}

/* Who asks for others could look at their rules as well: it takes the right to do anything. */
static int take_who(struct inquiry *inquiry, const struct access_explain_params *params)
{
    struct call *call = inquiry->call;
    struct rules_who *who = &inquiry->question.who;

    *who = peer_who(&call->peer);
    if (params->gids_count > 0 && !params->has_uid) {
        return call_fail_param(call, "/gids", "is only taken with uid");
    }
    if (!params->has_uid) {
        return 0;
    }
    if (rules_all(call->rules, who, method_find("remove_all")).match == RULES_DENIED) {
        return call_fail(call, ERROR_PERMISSION_DENIED,
                         "User id %u may not ask what others may do: that is for those who may "
                         "call remove_all.",
                         (unsigned int)who->uid);
    }
    *who = (struct rules_who){.uid = params->uid,
                              .gid = params->gids_count > 0 ? params->gids[0] : (gid_t)-1,
                              .groups = params->gids,
                              .groups_count = params->gids_count};
    return 0;
}

static int take(struct inquiry *inquiry, const struct access_explain_params *params)
{
    struct call *call = inquiry->call;
    const struct method *method = method_find(params->method);

    if (!method || (method->simulated && !call->host->sim)) {
        (void)call_fail_param(call, "/method", "is no method; rpc.discover lists them");
        return CALL_FAILED;
    }
    inquiry->question = (struct access_question){.rules = call->rules,
                                                 .method = method,
                                                 .new_name = params->new_name,
                                                 .new_uuid = params->new_uuid};
    int rc = take_device(inquiry, params);
    return rc ? rc : take_who(inquiry, params);
}

/* --- the answer --- */

static const char *words_for(const struct access_answer *answer)
{
    switch (answer->by.match) {
    case RULES_BY_NAME:
        return "; the kernel is told its name";
    case RULES_BY_UUID:
        return "; the kernel is told its uuid";
    case RULES_DENIED:
    case RULES_ALL:
        break;
    }
    return "";
}

static void tell_allowed(const struct inquiry *inquiry, char *reason, size_t size)
{
    const struct access_question *question = &inquiry->question;
    int rule = inquiry->answer.by.rule;
    const char *name = rules_at(question->rules, (size_t)rule)->name;
    bool on_server = question->method->scope == SCOPE_SERVER;

    (void)snprintf(reason, size, "Rule %d%s%s%s allows user id %u to call %s%s%s%s.", rule + 1,
                   *name ? ", '" : "", name, *name ? "'," : "", (unsigned int)question->who.uid,
                   question->method->name, on_server ? "" : " on ", on_server ? "" : inquiry->about,
                   words_for(&inquiry->answer));
}

static void tell_denied(const struct inquiry *inquiry, char *reason, size_t size)
{
    const struct access_question *question = &inquiry->question;
    bool some = rules_any(question->rules, &question->who, question->method).match != RULES_DENIED;
    const char *what = some ? inquiry->answer.what : "";

    (void)snprintf(reason, size, "No rule allows user id %u to call %s%s%s.%s",
                   (unsigned int)question->who.uid, question->method->name, *what ? " on " : "",
                   what,
                   some && !question->device && question->method->scope != SCOPE_ALL
                       ? " Some devices are allowed: give one to be told."
                       : "");
}

/* The patterns of all rules that allow the call, where each of them restricts it. */
static int list_under(struct inquiry *inquiry, struct access_explain_result *result)
{
    const struct access_question *question = &inquiry->question;
    const struct rules *rules = question->rules;
    size_t room = 0;

    if (rules_under(rules, &question->who, question->method, inquiry->by, NULL, 0)) {
        return 0;
    }
    for (size_t i = 0; i < rules_count(rules); i++) {
        room += rules_at(rules, i)->under_count;
    }
    const char **under = call_alloc(inquiry->call, room, sizeof(*under));
    if (!under) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < rules_count(rules); i++) {
        const struct rule *rule = rules_at(rules, i);
        bool counts = rules_allow_by(rules, i, &question->who, question->method, inquiry->by);
        for (size_t j = 0; counts && j < rule->under_count; j++) {
            under[result->under_count++] = rule->under[j];
        }
    }
    result->under = under;
    return 0;
}

static int explain_allowed(struct inquiry *inquiry, struct access_explain_result *result)
{
    static const char *const words[] = {
        [RULES_ALL] = "as asked", [RULES_BY_NAME] = "name", [RULES_BY_UUID] = "uuid"};
    const struct access_question *question = &inquiry->question;
    const struct access_answer *answer = &inquiry->answer;
    const char *name = rules_at(question->rules, (size_t)answer->by.rule)->name;
    bool loads = strcmp(question->method->name, "table_load") == 0 ||
                 strcmp(question->method->name, "table_swap") == 0;

    if (question->device) {
        inquiry->by = access_device(&answer->id);
        result->goes_by = words[answer->by.match];
    }
    result->allowed = true;
    result->rule = *name ? name : NULL;
    result->rule_number = (uint32_t)answer->by.rule + 1;
    result->has_rule_number = true;
    result->show_keys =
        rules_show_keys(question->rules, &question->who, question->method, inquiry->by);
    return loads ? list_under(inquiry, result) : 0;
}

int method_access_explain(struct call *call, const struct access_explain_params *params,
                          struct access_explain_result *result)
{
    enum { REASON_BYTES = 768 };
    struct inquiry inquiry = {.call = call};
    char *reason = call_alloc(call, 1, REASON_BYTES);
    int rc = reason ? take(&inquiry, params) : -ENOMEM;

    if (rc == 0) {
        rc = access_ask(&call->dm, &inquiry.question, &inquiry.answer);
    }
    if (rc != 0) {
        return rc;
    }
    result->configured = rules_configured(call->rules);
    result->reason = reason;
    if (inquiry.answer.by.match == RULES_DENIED) {
        tell_denied(&inquiry, reason, REASON_BYTES);
        return 0;
    }
    tell_allowed(&inquiry, reason, REASON_BYTES);
    return explain_allowed(&inquiry, result);
}
