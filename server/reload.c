/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Has the file read on a worker and puts what it says in the place of what held. It knows no
 * single rule; which limits are fixed it asks config.c.
 */
#include "reload.h"

#include <errno.h>
#include <ev.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "container_of.h"
#include "keeper.h"
#include "log.h"

static const ev_tstamp LOOK_SECONDS = 0.05; /* are there still leases? */
static const uint64_t REMIND_NS = UINT64_C(60000000000);

struct reload {
    struct dispatcher *dispatcher;
    const struct options *options;
    ev_signal hangup;
    ev_timer look; /* runs while the reading is put off, */
    uint64_t told; /* which was told then, by stats_clock */
    bool reading;  /* the job is on its way, */
    bool again;    /* and what it reads may be too old */
    struct job job;
    struct config_file file; /* the job's */
    int rc;
};

static void begin(struct reload *reload);

/* --- what changes --- */

/* A list of names, as long as it fits. */
struct names {
    char text[256];
    size_t length;
};

static void add_name(struct names *names, const char *name)
{
    int n = snprintf(names->text + names->length, sizeof(names->text) - names->length, "%s%s",
                     names->length > 0 ? ", " : "", name);

    if (n > 0 && (size_t)n < sizeof(names->text) - names->length) {
        names->length += (size_t)n;
    }
    names->text[names->length] = '\0';
}

static bool is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Those that can change do; `fixed` gets the names of those that cannot, and would. */
static void set_limits(struct reload *reload, const struct limits *wanted, struct names *fixed)
{
    struct limits *now = &reload->dispatcher->host.limits;

    for (size_t i = 0; i < type_limits.count; i++) {
        const struct field *field = &type_limits.fields[i];
        uint64_t value = config_limit(wanted, field);
        if (config_limit(now, field) == value) {
            continue;
        }
        if (config_is_fixed(field)) {
            add_name(fixed, field->name);
        } else {
            config_set_limit(now, field, value);
        }
    }
}

/* The one place where a new configuration begins to hold. */
static void install(struct reload *reload, struct rules *rules)
{
    const struct options *options = reload->options;
    const struct settings wanted = options_settle(options, &reload->file.config);
    struct names fixed = {0};
    size_t count = rules_count(rules);

    if (!is_same(wanted.socket, options->start.socket)) {
        add_name(&fixed, "socket");
    }
    if (!is_same(wanted.group, options->start.group)) {
        add_name(&fixed, "group");
    }
    set_limits(reload, &wanted.limits, &fixed);
    dispatcher_set_rules(reload->dispatcher, rules);
    audit_server(reload->dispatcher, "configured", "ok", options->config);
    if (!rules_configured(rules)) {
        log_line("%s: read again: no rules of its own; root and this daemon's user may do all.",
                 options->config);
    } else if (count == 0) {
        log_line("%s: read again: there are no rules: everybody is denied everything, root too.",
                 options->config);
    } else {
        log_line("%s: read again: %zu rule%s.", options->config, count, count == 1 ? "" : "s");
    }
    if (fixed.length > 0) {
        log_line("%s: these change only when dmrpcd is started anew: %s.", options->config,
                 fixed.text);
    }
}

/* --- a reading --- */

static void on_read(struct job *job)
{
    struct reload *reload = container_of(job, struct reload, job);

    reload->rc = config_read(reload->options->config, &reload->file);
}

static void finish(struct reload *reload)
{
    struct rules *rules = NULL;

    if (reload->rc < 0) {
        log_line("%s Nothing has changed.", reload->file.fault);
        audit_server(reload->dispatcher, "configured", "failed", reload->file.fault);
    } else if (reload->file.rules) {
        install(reload, rules_ref(reload->file.rules));
    } else if (rules_new_builtin(geteuid(), &rules) == 0) {
        install(reload, rules);
    } else {
        log_line("%s: there is no memory for it. Nothing has changed. Send SIGHUP again.",
                 reload->options->config);
        audit_server(reload->dispatcher, "configured", "failed", "there was no memory for it");
    }
}

static void on_read_end(struct job *job)
{
    struct reload *reload = container_of(job, struct reload, job);
    bool again = reload->again;

    reload->reading = reload->again = false;
    if (!again) {
        finish(reload);
    }
    config_done(&reload->file);
    if (again) {
        begin(reload);
    }
}

static void tell_put_off(struct reload *reload, size_t leases)
{
    reload->told = stats_clock();
    log_line(
        "%s: will be read again when the last lease of a suspended device has ended (%zu now): "
        "it might lie on that device. Until then the old rules hold; lease_list tells whose "
        "leases there are.",
        reload->options->config, leases);
}

static void begin(struct reload *reload)
{
    struct dispatcher *dispatcher = reload->dispatcher;
    size_t leases = keeper_count(dispatcher->host.keeper);

    if (dispatcher->closing || ev_is_active(&reload->look)) {
        return;
    }
    if (leases > 0) {
        tell_put_off(reload, leases);
        ev_timer_again(dispatcher->loop, &reload->look);
        return;
    }
    reload->job.run = on_read;
    reload->job.end = on_read_end;
    int rc = workers_submit(dispatcher->workers, &reload->job);
    reload->reading = rc == 0;
    if (rc < 0) {
        log_line("%s: there is no thread to read it: %s. Nothing has changed. Send SIGHUP again.",
                 reload->options->config, strerror(-rc));
    }
}

/* The last lease has ended, perhaps. */
static void on_look(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct reload *reload = watcher->data;
    size_t leases = keeper_count(reload->dispatcher->host.keeper);

    (void)events;
    if (leases == 0) {
        ev_timer_stop(loop, watcher);
        begin(reload);
    } else if (stats_clock() - reload->told >= REMIND_NS) {
        tell_put_off(reload, leases);
    }
}

static void on_hangup(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct reload *reload = watcher->data;

    (void)loop;
    (void)events;
    if (!reload->options->config) {
        log_line("SIGHUP: there is nothing to read again: dmrpcd was started without --config.");
    } else if (reload->reading) {
        reload->again = true;
    } else {
        begin(reload);
    }
}

int reload_new(struct dispatcher *dispatcher, const struct options *options,
               struct reload **ret_reload)
{
    struct reload *reload = calloc(1, sizeof(*reload));
    if (!reload) {
        return -ENOMEM;
    }
    reload->dispatcher = dispatcher;
    reload->options = options;
    ev_timer_init(&reload->look, on_look, 0., LOOK_SECONDS);
    ev_signal_init(&reload->hangup, on_hangup, SIGHUP);
    reload->look.data = reload->hangup.data = reload;
    ev_signal_start(dispatcher->loop, &reload->hangup);
    *ret_reload = reload;
    return 0;
}

struct reload *reload_free(struct reload *reload)
{
    if (reload) {
        ev_timer_stop(reload->dispatcher->loop, &reload->look);
        ev_signal_stop(reload->dispatcher->loop, &reload->hangup);
        config_done(&reload->file);
        free(reload);
    }
    return NULL;
}
