/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods about the server and the kernel's interface as a whole: server_info,
 * server_stats, rpc.discover, version, list_versions, target_version, dev_majors.
 */
#include <errno.h>
#include <stdio.h>

#include "call.h"

/* NULL: there is no memory. */
static const char **list_lacks(struct call *call, const struct lacks *lacks)
{
    const char **names = call_alloc(call, LACKS_MAX, sizeof(*names));

    for (size_t i = 0; names && i < lacks->count; i++) {
        names[i] = lacks->items[i]->name;
    }
    return names;
}

/* False: there is no memory. */
static bool tell_hardening(struct call *call, struct server_hardening *ret_hardening)
{
    const struct harden *harden = &call->host->harden;
    const char **missing = list_lacks(call, &harden->lacks);
    const char **names = call_alloc(call, 64, sizeof(*names));
    char(*texts)[HARDEN_CAPABILITY_NAME] = call_alloc(call, 64, sizeof(*texts));
    size_t count = 0;

    if (!missing || !names || !texts) {
        return false;
    }
    for (unsigned int i = 0; i < 64; i++) {
        if (harden_kept(harden, i, texts[count])) {
            names[count] = texts[count];
            count++;
        }
    }
    *ret_hardening = (struct server_hardening){.capabilities = names,
                                               .capabilities_count = count,
                                               .missing = missing,
                                               .missing_count = harden->lacks.count};
    return true;
}

int method_server_info(struct call *call, const struct server_info_params *params,
                       struct server_info_result *result)
{
    const struct host *host = call->host;
    const size_t size = sizeof("9999-12-31T23:59:59Z");
    char *started = call_alloc(call, 1, size);
    const char **missing = list_lacks(call, &host->lacks);
    struct server_memory memory = {.missing = missing, .missing_count = host->lacks.count};
    struct server_hardening hardening;
    struct tm tm;

    (void)params;
    if (!started || !missing || !tell_hardening(call, &hardening) ||
        !gmtime_r(&host->started, &tm)) {
        return -ENOMEM;
    }
    protect_measure(&memory.locked_bytes, &memory.resident_bytes);
    (void)strftime(started, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
    *result = (struct server_info_result){
        .version = DMRPC_VERSION,
        .api = DMRPC_API,
        .instance = host->instance,
        .backend = host->backend,
        .pid = (uint32_t)host->pid,
        .started = started,
        .limits = host->limits,
        .memory = memory,
        .hardening = hardening,
    };
    return 0;
}

int method_server_stats(struct call *call, const struct server_stats_params *params,
                        struct stats *result)
{
    (void)params;
    stats_read(call->dispatcher, result);
    return 0;
}

int method_rpc_discover(struct call *call, const struct rpc_discover_params *params,
                        struct rpc_discover_result *result)
{
    (void)call;
    (void)params;
    result->json = openrpc_document;
    return 0;
}

static struct version version_of(const struct dmi_version *version)
{
    return (struct version){version->major, version->minor, version->patch};
}

int method_version(struct call *call, const struct version_params *params,
                   struct version_result *result)
{
    struct dmi_version version;
    int rc = dmi_version(&call->dm, &version);

    (void)params;
    if (rc == 0) {
        result->version = version_of(&version);
        result->backend = call->host->backend;
    }
    return rc;
}

static void release_versions(void *thing)
{
    dmi_target_versions_done(thing);
}

int method_list_versions(struct call *call, const struct list_versions_params *params,
                         struct list_versions_result *result)
{
    struct dmi_target_versions *versions = call_alloc(call, 1, sizeof(*versions));
    int rc = versions ? dmi_list_versions(&call->dm, versions) : -ENOMEM;

    (void)params;
    if (rc == 0) {
        rc = call_own(call, versions, release_versions);
    }
    if (rc < 0) {
        return rc;
    }
    struct target_version *targets = call_alloc(call, versions->count, sizeof(*targets));
    if (!targets) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < versions->count; i++) {
        targets[i].name = versions->entries[i].name;
        targets[i].version = version_of(&versions->entries[i].version);
    }
    result->targets = targets;
    result->targets_count = versions->count;
    return 0;
}

int method_target_version(struct call *call, const struct target_version_params *params,
                          struct target_version *result)
{
    struct dmi_version version;
    int rc = dmi_target_version(&call->dm, params->type, &version);

    if (rc == -EINVAL) {
        (void)call_fail_kernel(call, rc);
        (void)snprintf(call->failure.message, sizeof(call->failure.message),
                       "There is no target type '%s', and no module for it was found.",
                       params->type);
        return CALL_FAILED;
    }
    if (rc == 0) {
        result->name = params->type;
        result->version = version_of(&version);
    }
    return rc;
}

static void release_majors(void *thing)
{
    dmi_majors_done(thing);
}

int method_dev_majors(struct call *call, const struct dev_majors_params *params,
                      struct dev_majors_result *result)
{
    struct dmi_majors *majors = call_alloc(call, 1, sizeof(*majors));
    int rc = majors ? dmi_dev_majors(&call->dm, majors) : -ENOMEM;

    (void)params;
    if (rc == 0) {
        rc = call_own(call, majors, release_majors);
    }
    if (rc == 0) {
        result->majors = majors->majors;
        result->majors_count = majors->count;
    }
    return rc;
}
