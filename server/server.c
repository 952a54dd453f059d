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
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"
#include "container_of.h"
#include "http.h"
#include "listener.h"
#include "log.h"
#include "rpc.h"
#include "sim/sim.h"
#include "transport.h"
#include "waits.h"

/* How long what runs may take after a signal: an ioctl that is stuck cannot be waited for. */
static const ev_tstamp EXIT_SECONDS = 20;

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
    ev_signal terminate, interrupt;
    ev_timer patience;
    ev_tstamp patience_ends;
    bool stuck; /* something still runs in the kernel: it cannot be taken apart */
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

/* Calls whose clients have gone may still run: on_patience_over sees the last of them end. */
static void on_empty(void *data)
{
    struct server *server = data;

    if (clients(server) == 0 && workers_busy(server->dispatcher.workers) == 0 &&
        !server->dispatcher.turns.first) {
        ev_break(server->loop, EVBREAK_ALL);
    }
}

static void on_conns_empty(struct conns *conns)
{
    on_empty(container_of(conns, struct server, conns));
}

static void on_patience_over(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct server *server = watcher->data;

    (void)events;
    size_t busy = workers_busy(server->dispatcher.workers);
    if (clients(server) == 0 && busy == 0 && !server->dispatcher.turns.first) {
        ev_break(loop, EVBREAK_ALL);
    } else if (ev_now(loop) >= server->patience_ends) {
        server->stuck = busy > 0;
        log_line("Exiting with %zu calls still running and %zu connections open: they took more "
                 "than %.0f s.",
                 busy, clients(server), EXIT_SECONDS);
        ev_break(loop, EVBREAK_ALL);
    }
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct server *server = watcher->data;

    (void)events;
    if (server->dispatcher.closing) {
        return; /* it has been said before */
    }
    listener_stop(&server->listener);
    server->dispatcher.closing = true;
    server->patience_ends = ev_now(loop) + EXIT_SECONDS;
    ev_timer_set(&server->patience, 0.02, 0.02);
    ev_timer_start(loop, &server->patience);
    waits_end_all(server->dispatcher.waits);
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
        log_line("/dev/mapper/control: %s. Run as root in the initial namespace, or with "
                 "--simulate.",
                 strerror(-rc));
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
    } else {
        rc = dmi_sim_new(&host->sim);
        if (rc == 0) {
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

static int open_all(struct server *server)
{
    struct dispatcher *dispatcher = &server->dispatcher;
    const struct options *options = server->options;
    gid_t group;

    dispatcher->loop = server->loop;
    turns_init(&dispatcher->turns, server->loop);
    dispatcher->budget = &server->budget;
    dispatcher->host.limits = options->limits;
    dispatcher->host.started = time(NULL);
    dispatcher->host.pid = getpid();
    server->budget.limit = options->limits.total_bytes;
    raise_files(options->limits.connections);
    int rc = make_instance(dispatcher->host.instance, sizeof(dispatcher->host.instance));
    if (rc == 0) {
        rc = find_group(options->group, &group);
    }
    if (rc == 0) {
        rc = open_backend(server);
    }
    if (rc == 0) {
        rc = workers_new(server->loop, options->limits.workers, &dispatcher->workers);
    }
    if (rc == 0) {
        rc = waits_new(dispatcher, &dispatcher->waits);
    }
    if (rc == 0) {
        rc = http_new(dispatcher, on_empty, server, &server->http);
    }
    if (rc == 0) {
        rc = conns_init(&server->conns, dispatcher, server->http, on_conns_empty);
    }
    if (rc == 0) {
        rc = listener_open(&server->listener, server->loop, options->socket, group, on_accepted);
    }
    return rc;
}

static void watch_signals(struct server *server)
{
    (void)signal(SIGPIPE, SIG_IGN);
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
    dispatcher->waits = waits_free(dispatcher->waits);
    dispatcher->host.transport = dmi_transport_free(dispatcher->host.transport);
    dispatcher->host.sim = dmi_sim_free(dispatcher->host.sim);
    ev_loop_destroy(server->loop);
}

int server_run(const struct options *options)
{
    static struct server server; /* the loop's callbacks find it through their watchers */

    server = (struct server){.options = options, .listener = {.fd = -1, .lock_fd = -1}};
    server.loop = ev_default_loop(EVFLAG_AUTO);
    if (!server.loop) {
        log_line("The event loop could not be made: the system is out of resources.");
        return EXIT_FAILURE;
    }
    watch_signals(&server);
    if (open_all(&server) < 0) {
        return EXIT_FAILURE;
    }
    log_line("Serving %s device-mapper on %s.", options->simulate ? "a SIMULATED" : "this host's",
             options->socket);
    ev_run(server.loop, 0);
    if (server.stuck) {
        listener_close(&server.listener);
        _exit(EXIT_SUCCESS);
    }
    close_all(&server);
    return EXIT_SUCCESS;
}
