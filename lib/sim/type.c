/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Target types. Those of dm-mod are there from the start; the others come with
 * the module that the first use of their name loads, and a module may bring
 * several, in an order that list_versions shows. Modules never go.
 */
#include "type.h"

#include <string.h>

#include "state.h"

/* A module: the dm-NAME that it answers to, and the types in the order that it registers them. */
struct module {
    const char *aliases[8];
    const struct sim_target_type *types[4];
};

static const struct module modules[] = {
    {{"cache"}, {&sim_target_cache}},
    {{"crypt"}, {&sim_target_crypt}},
    {{"delay"}, {&sim_target_delay}},
    {{"flakey"}, {&sim_target_flakey}},
    {{"mirror"}, {&sim_target_mirror}},
    {{"raid", "raid0", "raid1", "raid10", "raid4", "raid5", "raid6"}, {&sim_target_raid}},
    {{"snapshot", "snapshot-merge", "snapshot-origin"},
     {&sim_target_snapshot, &sim_target_snapshot_origin, &sim_target_snapshot_merge}},
    {{"thin-pool"}, {&sim_target_thin, &sim_target_thin_pool}},
    {{"zero"}, {&sim_target_zero}},
};

static const struct sim_target_type *const built_in[] = {&sim_target_error, &sim_target_linear,
                                                         &sim_target_striped};

/* dm_register_target(): at the head of the list, once. */
static void types_register(struct sim_types *types, const struct sim_target_type *type)
{
    for (size_t i = 0; i < types->count; i++)
        if (types->loaded[i] == type)
            return;
    if (types->count == SIM_TYPES_MAX)
        return;
    memmove(types->loaded + 1, types->loaded, types->count * sizeof(types->loaded[0]));
    types->loaded[0] = type;
    types->count++;
}

void sim_types_init(struct sim_types *types)
{
    *types = (struct sim_types){0};
    for (size_t i = 0; i < sizeof(built_in) / sizeof(built_in[0]); i++)
        types_register(types, built_in[i]);
}

static const struct sim_target_type *types_find(const struct sim_types *types, const char *name)
{
    for (size_t i = 0; i < types->count; i++)
        if (strcmp(types->loaded[i]->name, name) == 0)
            return types->loaded[i];
    return NULL;
}

static const struct module *module_find(const char *name)
{
    for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++)
        for (size_t j = 0; j < sizeof(modules[i].aliases) / sizeof(modules[i].aliases[0]); j++)
            if (modules[i].aliases[j] && strcmp(modules[i].aliases[j], name) == 0)
                return &modules[i];
    return NULL;
}

const struct sim_target_type *sim_types_get(struct dmi_sim *sim, const char *name)
{
    const struct sim_target_type *type = types_find(&sim->types, name);
    const struct module *module = type ? NULL : module_find(name);

    if (!module)
        return type;
    for (size_t i = 0; i < sizeof(module->types) / sizeof(module->types[0]); i++)
        if (module->types[i])
            types_register(&sim->types, module->types[i]);
    return types_find(&sim->types, name);
}

void sim_emit_type(struct sim_text *out, const struct sim_target_type *type)
{
    sim_emit(out, "target_name=%s,target_version=%u.%u.%u", type->name, type->version[0],
             type->version[1], type->version[2]);
}
