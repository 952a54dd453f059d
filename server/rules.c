/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of rules in one piece of memory that is counted, and what it allows. Rules are few:
 * each question reads them all, first to last.
 */
#include "rules.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"

struct rules {
    atomic_size_t references;
    bool configured;
    size_t count;
    struct rule *rules;
    struct arena arena; /* all that they point to */
};

/* --- a copy --- */

static const char *copy_text(struct arena *arena, const char *text)
{
    return arena_copy(arena, text ? text : "", text ? strlen(text) : 0);
}

static void *copy_array(struct arena *arena, const void *from, size_t count, size_t size)
{
    void *to = arena_alloc(arena, count, size);

    if (to && count > 0) {
        memcpy(to, from, count * size);
    }
    return to;
}

static bool copy_texts(struct arena *arena, const char *const *from, size_t count,
                       const char *const **ret_to)
{
    const char **to = arena_alloc(arena, count, sizeof(*to));

    *ret_to = to;
    for (size_t i = 0; to && i < count; i++) {
        to[i] = copy_text(arena, from[i]);
        if (!to[i]) {
            return false;
        }
    }
    return to;
}

static bool copy_globs(struct arena *arena, const struct rule *from, struct rule *to)
{
    struct rule_glob *globs = copy_array(arena, from->devices, from->devices_count, sizeof(*globs));

    to->devices = globs;
    for (size_t i = 0; globs && i < from->devices_count; i++) {
        globs[i].glob = copy_text(arena, globs[i].glob);
        if (!globs[i].glob) {
            return false;
        }
    }
    return globs;
}

static bool copy_rule(struct arena *arena, const struct rule *from, struct rule *to)
{
    *to = *from;
    to->name = copy_text(arena, from->name);
    to->who = copy_array(arena, from->who, from->who_count, sizeof(*from->who));
    return to->name && to->who &&
           copy_texts(arena, from->methods, from->methods_count, &to->methods) &&
           copy_globs(arena, from, to) &&
           copy_texts(arena, from->under, from->under_count, &to->under);
}

int rules_new(const struct rule *rules, size_t count, bool configured, struct rules **ret_rules)
{
    struct rules *copy = calloc(1, sizeof(*copy));
    if (!copy) {
        return -ENOMEM;
    }
    atomic_init(&copy->references, 1);
    copy->configured = configured;
    copy->count = count;
    copy->rules = arena_alloc(&copy->arena, count, sizeof(*copy->rules));
    bool whole = copy->rules;
    for (size_t i = 0; whole && i < count; i++) {
        whole = copy_rule(&copy->arena, &rules[i], &copy->rules[i]);
    }
    if (!whole) {
        (void)rules_unref(copy);
        return -ENOMEM;
    }
    *ret_rules = copy;
    return 0;
}

int rules_new_builtin(uid_t own, struct rules **ret_rules)
{
    const struct rule_who owners[] = {{RULE_UID, 0}, {RULE_UID, own}};
    const struct rule_who all[] = {{RULE_ANY, 0}};
    const struct rule rules[] = {
        {
            .name = "root and the daemon's own user may do all",
            .who = owners,
            .who_count = 2,
            .effects = 1U << EFFECT_READ | 1U << EFFECT_WRITE | 1U << EFFECT_ADMIN,
            .show_keys = true,
        },
        {
            .name = "who can open the socket may read",
            .who = all,
            .who_count = 1,
            .effects = 1U << EFFECT_READ,
        },
    };

    return rules_new(rules, sizeof(rules) / sizeof(rules[0]), false, ret_rules);
}

struct rules *rules_ref(struct rules *rules)
{
    atomic_fetch_add(&rules->references, 1);
    return rules;
}

struct rules *rules_unref(struct rules *rules)
{
    if (rules && atomic_fetch_sub(&rules->references, 1) == 1) {
        arena_done(&rules->arena);
        free(rules);
    }
    return NULL;
}

bool rules_configured(const struct rules *rules)
{
    return rules->configured;
}

size_t rules_count(const struct rules *rules)
{
    return rules->count;
}

const struct rule *rules_at(const struct rules *rules, size_t i)
{
    return &rules->rules[i];
}

/* --- one rule --- */

static bool in_group(const struct rules_who *who, gid_t gid)
{
    bool in = who->gid == gid;

    for (size_t i = 0; !in && i < who->groups_count; i++) {
        in = who->groups[i] == gid;
    }
    return in;
}

static bool takes_who(const struct rule *rule, const struct rules_who *who)
{
    bool takes = false;

    for (size_t i = 0; !takes && i < rule->who_count; i++) {
        const struct rule_who *each = &rule->who[i];
        takes = each->kind == RULE_ANY || (each->kind == RULE_UID && who->uid == each->id) ||
                (each->kind == RULE_GID && in_group(who, each->id));
    }
    return takes;
}

bool rules_takes_method(const struct rule *rule, const struct method *method)
{
    bool takes = rule->effects >> method->effect & 1;

    for (size_t i = 0; !takes && i < rule->methods_count; i++) {
        takes = strcmp(rule->methods[i], method->name) == 0;
    }
    return takes;
}

static bool takes_call(const struct rule *rule, const struct rules_who *who,
                       const struct method *method)
{
    return rules_takes_method(rule, method) && takes_who(rule, who);
}

static enum rules_match match_device(const struct rule *rule, struct rules_device device)
{
    enum rules_match match = rule->devices_count == 0 ? RULES_ALL : RULES_DENIED;

    for (size_t i = 0; i < rule->devices_count; i++) {
        const struct rule_glob *glob = &rule->devices[i];
        const char *value = glob->by == RULE_BY_NAME ? device.name : device.uuid;
        if (!value || !*value || fnmatch(glob->glob, value, 0) != 0) {
            continue;
        }
        if (glob->by == RULE_BY_NAME) {
            return RULES_BY_NAME;
        }
        match = RULES_BY_UUID;
    }
    return match;
}

static bool takes_under(const struct rule *rule, const char *const *names, size_t count)
{
    bool takes = rule->under_count == 0;

    for (size_t i = 0; !takes && i < rule->under_count * count; i++) {
        takes = fnmatch(rule->under[i / count], names[i % count], FNM_PATHNAME) == 0;
    }
    return takes;
}

/* --- all of them --- */

static const struct rules_answer denied = {.match = RULES_DENIED, .rule = RULES_NO_RULE};

struct rules_answer rules_any(const struct rules *rules, const struct rules_who *who,
                              const struct method *method)
{
    for (size_t i = 0; i < rules->count; i++) {
        if (takes_call(&rules->rules[i], who, method)) {
            return (struct rules_answer){RULES_ALL, (int)i};
        }
    }
    return denied;
}

/* Nothing is known of them but that the rule takes all. */
struct rules_answer rules_all(const struct rules *rules, const struct rules_who *who,
                              const struct method *method)
{
    return rules_device(rules, who, method, (struct rules_device){0});
}

struct rules_answer rules_device(const struct rules *rules, const struct rules_who *who,
                                 const struct method *method, struct rules_device device)
{
    struct rules_answer best = denied;

    for (size_t i = 0; i < rules->count; i++) {
        if (!takes_call(&rules->rules[i], who, method)) {
            continue;
        }
        enum rules_match match = match_device(&rules->rules[i], device);
        if (match != RULES_DENIED && (best.match == RULES_DENIED || match < best.match)) {
            best = (struct rules_answer){match, (int)i};
        }
    }
    return best;
}

bool rules_allow_by(const struct rules *rules, size_t i, const struct rules_who *who,
                    const struct method *method, struct rules_device device)
{
    const struct rule *rule = &rules->rules[i];

    return takes_call(rule, who, method) && match_device(rule, device) != RULES_DENIED;
}

bool rules_under(const struct rules *rules, const struct rules_who *who,
                 const struct method *method, struct rules_device device, const char *const *names,
                 size_t count)
{
    bool may = false;

    for (size_t i = 0; !may && i < rules->count; i++) {
        may = rules_allow_by(rules, i, who, method, device) &&
              takes_under(&rules->rules[i], names, count);
    }
    return may;
}

bool rules_show_keys(const struct rules *rules, const struct rules_who *who,
                     const struct method *method, struct rules_device device)
{
    bool show = false;

    for (size_t i = 0; !show && i < rules->count; i++) {
        show = rules->rules[i].show_keys && rules_allow_by(rules, i, who, method, device);
    }
    return show;
}
