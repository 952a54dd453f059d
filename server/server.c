/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts the parts together and takes them apart. On SIGTERM or SIGINT it accepts
 * nothing more, ends the waits, lets what runs finish and be answered, and exits.
 */
#include "server.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"
#include "container_of.h"
#include "explain.h"
#include "harden.h"
#include "http.h"
#include "keeper.h"
#include "listener.h"
#include "log.h"
#include "protect.h"
#include "registers.h"
#include "reload.h"
#include "rpc.h"
#include "sim/sim.h"
#include "simulated.h"
#include "this_host.h"
#include "transport.h"
#include "waits.h"
#include "watch.h"

/* How long what runs may take after a signal: an ioctl that is stuck cannot be waited for. */
static const ev_tstamp EXIT_SECONDS = 20;

/* How long the guardian of a daemon that was killed just now may take to be done. */
enum { GUARDIAN_TRIES = 200, GUARDIAN_WAIT_NS = 10000000 };
/* Descriptors beside those of connections: to those that are refused as well. */
enum { OWN_FILES = 128 };

struct server {
    const struct options *options;
    struct ev_loop *loop;
    struct budget budget;
    struct dispatcher dispatcher;
    struct conns conns;
    struct http *http;
    struct listener listener;
    struct lease_table *leases;
    struct guardian guardian;
    ev_child guardian_end;
    ev_signal terminate, interrupt;
    struct reload *reload;
    ev_prepare sleeps;
    ev_timer patience;
    ev_tstamp patience_ends;
    bool on_disk; /* the path's folder */
    bool stuck;   /* something still runs in the kernel: it cannot be taken apart */
};

/* --- connections --- */

static size_t clients(const struct server *server)
{
    return server->conns.count + http_count(server->http);
}

/* To one connection too many: the reason, as a reply, rather than silence. */
static void turn_away(struct server *server, int fd, const struct peer *peer, const char *whose,
                      uint64_t limit)
{
    struct failure failure;
    struct out out;

    failure_set(&failure, ERROR_OVERLOADED, "There are %llu connections%s, which is the limit.",
                (unsigned long long)limit, whose);
    failure.data.limit = limit;
    failure.data.has_limit = true;
    server->dispatcher.counters.stats.connections_refused++;
    if (conn_refuse(&server->conns, fd, peer, &failure) == 0) {
        return;
    }
    /* Too many of those, too: it is told at once, and may see a reset instead. */
    out_init(&out, SIZE_MAX, &server->budget);
    rpc_put_error(&server->dispatcher, &out, &failure);
    (void)out_send(&out, fd);
    out_done(&out);
    (void)shutdown(fd, SHUT_WR);
    (void)close(fd);
}

static void on_accepted(struct listener *listener, int fd, const struct peer *peer)
{
    struct server *server = container_of(listener, struct server, listener);
    const struct limits *limits = &server->dispatcher.host.limits;

    if (server->dispatcher.closing) {
        (void)close(fd); /* see stop_listening */
        return;
    }
    if (clients(server) >= limits->connections) {
        turn_away(server, fd, peer, "", limits->connections);
    } else if (conns_count_user(&server->conns, peer->uid) +
                   http_count_user(server->http, peer->uid) >=
               limits->connections_per_user) {
        turn_away(server, fd, peer, " of this user", limits->connections_per_user);
    } else if (conn_new(&server->conns, fd, peer) < 0) {
        (void)close(fd);
    }
}

/* --- the end --- */

/* Nothing is under way, and nobody is owed anything. */
static bool is_idle(const struct server *server)
{
    const struct dispatcher *dispatcher = &server->dispatcher;

    return clients(server) == 0 && workers_busy(dispatcher->workers) == 0 &&
           keeper_count(dispatcher->host.keeper) == 0 && !dispatcher->turns.first;
}

/* Calls whose clients have gone may still run: on_patience_over sees the last of them end. */
static void on_empty(void *data)
{
    struct server *server = data;

    if (is_idle(server)) {
        ev_break(server->loop, EVBREAK_ALL);
    }
}

static void on_conns_empty(struct conns *conns)
{
    on_empty(container_of(conns, struct server, conns));
}

/*
 * A path on a disk may lie on a device that is suspended until its lease has ended: to remove
 * the socket would wait for what this very thread is to bring about.
 */
static void stop_listening(struct server *server)
{
    if (!server->on_disk || keeper_count(server->dispatcher.host.keeper) == 0) {
        listener_stop(&server->listener);
    }
}

static void on_patience_over(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct server *server = watcher->data;

    (void)events;
    stop_listening(server);
    size_t busy = workers_busy(server->dispatcher.workers);
    if (is_idle(server)) {
        ev_break(loop, EVBREAK_ALL);
    } else if (ev_now(loop) >= server->patience_ends) {
        server->stuck = busy > 0 || keeper_count(server->dispatcher.host.keeper) > 0;
        log_line("Exiting with %zu calls still running and %zu connections open: they took more "
                 "than %.0f s.",
                 busy, clients(server), EXIT_SECONDS);
        ev_break(loop, EVBREAK_ALL);
    }
}

/* What requests held goes from the registers, too. */
static void on_sleep(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
    registers_clear();
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct server *server = watcher->data;

    (void)events;
    if (server->dispatcher.closing) {
        return; /* it has been said before */
    }
    listener_accept(&server->listener); /* whoever closes the socket on them resets them */
    stop_listening(server);
    server->dispatcher.closing = true;
    server->patience_ends = ev_now(loop) + EXIT_SECONDS;
    ev_timer_set(&server->patience, 0.02, 0.02);
    ev_timer_start(loop, &server->patience);
    waits_end_all(server->dispatcher.waits);
    events_end_all(server->dispatcher.events);
    keeper_close(server->dispatcher.host.keeper);
    calls_end_paused(&server->dispatcher.calls);
    conns_close(&server->conns);
    http_close(server->http);
}

/* --- the start --- */

static int find_group(const char *name, gid_t *ret_gid)
{
    *ret_gid = (gid_t)-1;
    if (!name) {
        return 0;
    }
    errno = 0;
    const struct group *group = getgrnam(name);
    if (!group) {
        log_line("There is no group '%s'. Make it, or name another with --group.", name);
        return errno ? -errno : -ENOENT;
    }
    *ret_gid = group->gr_gid;
    return 0;
}

static int open_kernel(struct dmi_transport **ret_transport)
{
    int rc = dmi_transport_kernel_new(ret_transport);

    if (rc == -EACCES || rc == -EPERM) {
        log_line("/dev/mapper/control: %s: %s. Or run with --simulate.", strerror(-rc),
                 explain_permission(&this_host));
    } else if (rc < 0) {
        log_line("/dev/mapper/control: %s. The kernel has no device-mapper: modprobe dm_mod, or "
                 "run with --simulate.",
                 strerror(-rc));
    }
    return rc;
}

static int open_backend(struct server *server)
{
    struct host *host = &server->dispatcher.host;
    int rc;

    if (!server->options->simulate) {
        rc = open_kernel(&host->transport);
        host->block = this_host;
    } else {
        rc = dmi_sim_new(&host->sim);
        if (rc == 0) {
            host->block = simulated_host(host->sim);
            rc = dmi_sim_open(host->sim, &host->transport);
        }
    }
    if (rc == 0) {
        host->backend = host->transport->backend;
    }
    return rc;
}

/* A new random UUID: who sees another than before talks to another daemon. */
static int make_instance(char *ret_instance, size_t size)
{
    int fd = open("/proc/sys/kernel/random/uuid", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret_instance, size - 1);

    if (fd >= 0) {
        (void)close(fd);
    }
    if (n < 36) {
        log_line("/proc/sys/kernel/random/uuid: cannot be read. Mount /proc.");
        return -ENOENT;
    }
    ret_instance[36] = '\0';
    return 0;
}

/* Each connection is a descriptor; the system's preset of 1,024 would be the real limit. */
static void raise_files(uint64_t connections)
{
    const rlim_t wanted = connections + OWN_FILES;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted) {
        return;
    }
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted) {
        log_line("Only %llu files may be open, too few for %llu connections: those past that will "
                 "wait. Raise the limit of open files (ulimit -n, LimitNOFILE=) to %llu.",
                 (unsigned long long)limit.rlim_cur, (unsigned long long)connections,
                 (unsigned long long)wanted);
    }
}

/* --- the kernel's log --- */

/* While this process may. Without it errors lack the kernel's own words, and that is all. */
static void open_kernel_log(struct server *server)
{
    struct host *host = &server->dispatcher.host;
    int rc = host->sim ? simulated_log_open(host->sim, &host->kernel_log)
                       : kernel_log_open("/dev/kmsg", &host->kernel_log);

    if (rc < 0) {
        log_line("/dev/kmsg: cannot be read: %s. Errors come without what the kernel said "
                 "(kernel_log). Give this process CAP_SYSLOG and access to the node, or set "
                 "kernel.dmesg_restrict=0.",
                 strerror(-rc));
    }
}

/* --- leases --- */

static int fail_leases(const char *path, int rc)
{
    if (rc == -EPERM || rc == -ELOOP) {
        log_line("%s: not used, because it is no plain file that only this user can reach. Remove "
                 "it.",
                 path);
    } else {
        log_line("%s: the table of leases cannot be made: %s. Check the folder.", path,
                 strerror(-rc));
    }
    return rc;
}

/*
 * The guardian of a daemon that was killed holds the table until it has resumed all devices;
 * so does a daemon that cannot die, or that goes on some day. They keep it, by no name.
 */
static int open_table(struct server *server, const char *path, const char *boot_id, int *ret_fd)
{
    const struct timespec pause = {.tv_nsec = GUARDIAN_WAIT_NS};
    enum lease_found found = LEASE_FOUND_NOTHING;
    int rc = lease_table_open(path, boot_id, &server->leases, ret_fd, &found);

    for (int i = 0; rc == -EWOULDBLOCK && i < GUARDIAN_TRIES; i++) {
        (void)nanosleep(&pause, NULL);
        rc = lease_table_open(path, boot_id, &server->leases, ret_fd, &found);
    }
    if (rc == -EWOULDBLOCK && unlink(path) == 0) {
        log_line("%s: an earlier dmrpcd or its guardian still ends leases; a new table is begun.",
                 path);
        rc = lease_table_open(path, boot_id, &server->leases, ret_fd, &found);
    }
    if (rc < 0) {
        return fail_leases(path, rc);
    }
    if (found == LEASE_FOUND_DAMAGED) {
        log_line("%s: no table of leases; begun anew.", path);
    }
    size_t dropped = lease_adopt(server->leases, lease_clock());
    if (dropped > 0) {
        log_line("%s: %zu leases made no sense and were dropped.", path, dropped);
    }
    if (server->leases->head.live > 0) {
        log_line("%s: %u leases of an earlier dmrpcd are taken over.", path,
                 server->leases->head.live);
    }
    return 0;
}

/* A store to a file of a file system that is suspended itself would wait for the resume. */
static bool is_in_memory(const char *path)
{
    struct statfs st;

    return statfs(path, &st) == 0 && (st.f_type == TMPFS_MAGIC || st.f_type == RAMFS_MAGIC);
}

static int open_file_or_memory(struct server *server, int *ret_fd)
{
    char boot_id[LEASE_BOOT_ID + 1];
    char *lock;
    char *path;

    if (asprintf(&lock, "%s.lock", server->options->start.socket) < 0) {
        return -ENOMEM;
    }
    server->on_disk = !is_in_memory(lock);
    free(lock);
    if (server->on_disk) {
        log_line("%s: not on a tmpfs, so leases do not outlive both this process and its guardian.",
                 server->options->start.socket);
        return lease_table_new(&server->leases);
    }
    if (asprintf(&path, "%s.leases", server->options->start.socket) < 0) {
        return -ENOMEM;
    }
    int rc = lease_boot_id(boot_id);
    rc = rc < 0 ? fail_leases(path, rc) : open_table(server, path, boot_id, ret_fd);
    free(path);
    return rc;
}

static void on_guardian_end(struct ev_loop *loop, ev_child *watcher, int events)
{
    const struct server *server = watcher->data;

    (void)events;
    ev_ref(loop); /* undone when it was started */
    ev_child_stop(loop, watcher);
    log_line("The guardian has died (wait status %d): who suspends a device now has this process "
             "alone to resume it. Start dmrpcd anew.",
             watcher->rstatus);
    keeper_guardian_gone(server->dispatcher.host.keeper);
}

static int start_guardian(struct server *server, int table_fd)
{
    const char *missing = NULL;
    int rc = guardian_start(&server->guardian, server->leases, table_fd,
                            server->dispatcher.host.transport, &missing);

    if (rc < 0) {
        log_line("The guardian could not be started: %s. The system is out of resources, or too "
                 "busy: start dmrpcd again when it is not.",
                 strerror(-rc));
        return rc;
    }
    if (missing) {
        log_line("The guardian of suspended devices is not safe from everything: %s.", missing);
    }
    ev_child_init(&server->guardian_end, on_guardian_end, server->guardian.pid, 0);
    server->guardian_end.data = server;
    ev_child_start(server->loop, &server->guardian_end);
    ev_unref(server->loop);
    return 0;
}

/* Forks: there are no threads yet. A simulated kernel dies with us, and needs no guardian. */
static int open_leases(struct server *server)
{
    int fd = -1;
    int rc;

    if (server->options->simulate) {
        rc = lease_table_new(&server->leases);
        if (rc < 0) {
            log_line("The table of leases could not be made: the system is out of memory.");
        }
        return rc;
    }
    rc = open_file_or_memory(server, &fd);
    if (rc == 0) {
        rc = start_guardian(server, fd);
    }
    if (fd >= 0) {
        (void)close(fd); /* the guardian has it, and its lock */
    }
    return rc;
}

/* What it may not have, it does without: the guardian still resumes. */
static void protect_process(struct server *server)
{
    struct lacks *lacks = &server->dispatcher.host.lacks;
    char missing[512];

    if (server->options->simulate) {
        return; /* no device of this host will wait for it */
    }
    protect_memory(lacks);
    lacks_tell(lacks, missing, sizeof(missing));
    if (missing[0]) {
        log_line("Not safe from a device that it suspends: %s.", missing);
    }
}

/* It then has what it opened before, and CAP_SYS_ADMIN where there is a kernel to ask. */
static void harden_process(struct server *server)
{
    struct host *host = &server->dispatcher.host;
    bool locked = !server->options->simulate &&
                  !lacks_has(&host->lacks, &protect_parts[PROTECT_LOCKED_MEMORY]);
    char missing[512];

    harden_begin(&host->harden, server->options->simulate ? 0 : harden_needed(locked));
    harden_calls(&host->harden, HARDEN_CALLS_DAEMON);
    lacks_tell(&host->harden.lacks, missing, sizeof(missing));
    if (missing[0]) {
        log_line("Not hardened against faults of its own: %s.", missing);
    }
}

static int start_log(struct server *server)
{
    struct dispatcher *dispatcher = &server->dispatcher;
    const struct log_writer writer = audit_writer(&dispatcher->audit, dispatcher->host.instance);
    int rc = log_start(&writer);

    if (rc < 0) {
        log_line("The log's thread could not be made: %s. The system is out of resources.",
                 strerror(-rc));
    }
    return rc;
}

static int open_workers(struct server *server)
{
    int rc = workers_new(server->loop, server->options->start.limits.workers,
                         &server->dispatcher.workers);

    if (rc == 0) {
        rc = workers_reserve(server->dispatcher.workers);
    }
    if (rc < 0) {
        log_line("Threads could not be made: %s. The system is out of resources.", strerror(-rc));
    }
    return rc;
}

/*
 * Rights belong to threads: they go before there is a second one, and when all that needs
 * them is open, the socket too. Nobody is accepted before the loop runs.
 */
static int open_threads(struct server *server)
{
    harden_process(server);
    int rc = start_log(server);

    if (rc == 0) {
        rc = open_workers(server);
    }
    if (rc < 0) {
        listener_close(&server->listener);
    }
    return rc;
}

static bool is_connected(void *data, uint64_t connection)
{
    const struct server *server = data;

    return conns_has(&server->conns, connection);
}

static int open_keeper(struct server *server)
{
    struct host *host = &server->dispatcher.host;
    int rc = keeper_new(&server->dispatcher, server->leases,
                        server->guardian.pid > 0 ? &server->guardian : NULL, &host->keeper);

    if (rc == 0) {
        keeper_ask_connected(host->keeper, is_connected, server);
    }
    return rc;
}

/* Root too may be locked out, and wants to know. */
static int open_rules(struct server *server)
{
    const struct options *options = server->options;
    struct rules *rules = options->file.rules;
    int rc = rules ? 0 : rules_new_builtin(geteuid(), &rules);

    if (rc < 0) {
        log_line("The rules of access could not be made: the system is out of memory.");
        return rc;
    }
    dispatcher_set_rules(&server->dispatcher, options->file.rules ? rules_ref(rules) : rules);
    if (rules_count(rules) == 0) {
        log_line("%s: there are no rules: everybody is denied everything, root too.",
                 options->config);
    }
    return 0;
}

static int open_all(struct server *server)
{
    struct dispatcher *dispatcher = &server->dispatcher;
    const struct options *options = server->options;
    gid_t group;

    dispatcher->loop = server->loop;
    turns_init(&dispatcher->turns, server->loop);
    dispatcher->budget = &server->budget;
    dispatcher->host.limits = options->start.limits;
    dispatcher->host.started = time(NULL);
    dispatcher->host.pid = getpid();
    server->budget.limit = options->start.limits.total_bytes;
    if (!options->simulate) {
        protect_begin(&dispatcher->host.lacks);
    }
    raise_files(options->start.limits.connections);
    int rc = make_instance(dispatcher->host.instance, sizeof(dispatcher->host.instance));
    if (rc == 0) {
        rc = reload_new(dispatcher, options, &server->reload);
    }
    if (rc == 0) {
        rc = open_rules(server);
    }
    if (rc == 0) {
        rc = find_group(options->start.group, &group);
    }
    if (rc == 0) {
        rc = open_backend(server);
    }
    if (rc == 0) {
        rc = listener_lock(&server->listener, server->loop, options->start.socket);
    }
    if (rc == 0) {
        rc = open_leases(server);
    }
    if (rc == 0) {
        open_kernel_log(server);
        protect_process(server);
        rc = watch_new(dispatcher, &dispatcher->watch);
    }
    if (rc == 0) {
        rc = waits_new(dispatcher, &dispatcher->waits);
    }
    if (rc == 0) {
        rc = events_new(dispatcher, &dispatcher->events);
    }
    if (rc == 0) {
        rc = open_keeper(server);
    }
    if (rc == 0) {
        rc = http_new(dispatcher, on_empty, server, &server->http);
    }
    if (rc == 0) {
        rc = conns_init(&server->conns, dispatcher, server->http, on_conns_empty);
    }
    if (rc == 0) {
        rc = listener_start(&server->listener, group, on_accepted);
    }
    if (rc == 0) {
        rc = open_threads(server);
    }
    return rc;
}

static void watch_signals(struct server *server)
{
    (void)signal(SIGPIPE, SIG_IGN);
    ev_prepare_init(&server->sleeps, on_sleep);
    ev_prepare_start(server->loop, &server->sleeps);
    ev_unref(server->loop);
    ev_signal_init(&server->terminate, on_signal, SIGTERM);
    ev_signal_init(&server->interrupt, on_signal, SIGINT);
    ev_init(&server->patience, on_patience_over);
    server->terminate.data = server->interrupt.data = server->patience.data = server;
    ev_signal_start(server->loop, &server->terminate);
    ev_signal_start(server->loop, &server->interrupt);
}

static void close_all(struct server *server)
{
    struct dispatcher *dispatcher = &server->dispatcher;

    listener_close(&server->listener);
    conns_done(&server->conns);
    server->http = http_free(server->http);
    dispatcher->workers = workers_free(dispatcher->workers);
    server->reload = reload_free(server->reload);
    dispatcher->events = events_free(dispatcher->events);
    dispatcher->waits = waits_free(dispatcher->waits);
    dispatcher->watch = watch_free(dispatcher->watch);
    dispatcher->host.keeper = keeper_free(dispatcher->host.keeper);
    server->leases = lease_table_free(server->leases);
    guardian_stop(&server->guardian);
    dispatcher->host.kernel_log = kernel_log_free(dispatcher->host.kernel_log);
    dispatcher->host.transport = dmi_transport_free(dispatcher->host.transport);
    dispatcher->host.sim = dmi_sim_free(dispatcher->host.sim);
    dispatcher->rules = rules_unref(dispatcher->rules);
    ev_loop_destroy(server->loop);
}

int server_run(const struct options *options)
{
    static struct server server; /* the loop's callbacks find it through their watchers */

    server = (struct server){
        .options = options, .guardian = {.pipe = -1}, .listener = {.fd = -1, .claim = {.fd = -1}}};
    /* A handler would leave what the registers held on the stack, and that may be a key. */
    server.loop = ev_default_loop(EVFLAG_AUTO | EVFLAG_SIGNALFD);
    if (!server.loop) {
        log_line("The event loop could not be made: the system is out of resources.");
        return EXIT_FAILURE;
    }
    watch_signals(&server);
    if (open_all(&server) < 0) {
        return EXIT_FAILURE;
    }
    log_line("Serving %s device-mapper on %s.", options->simulate ? "a SIMULATED" : "this host's",
             options->start.socket);
    audit_server(&server.dispatcher, "started", "ok", options->start.socket);
    ev_run(server.loop, 0);
    audit_server(&server.dispatcher, "stopped", server.stuck ? "failed" : "ok",
                 server.stuck ? "calls still ran" : NULL);
    if (server.stuck) {
        stop_listening(&server);
        log_stop();
        _exit(EXIT_SUCCESS);
    }
    close_all(&server);
    return EXIT_SUCCESS;
}
