/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session. The loop is turned until nothing happens any more, which an idle watcher
 * tells, so that no run waits for time to pass: what sleeps in the simulated kernel
 * is let go at the end, and waits for events end as at a shutdown.
 */
#include "session.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ev.h>

#include "check.h"
#include "conn.h"
#include "dispatch.h"
#include "events.h"
#include "http.h"
#include "json_memory.h"
#include "keeper.h"
#include "replies.h"
#include "scarce.h"
#include "sim/device.h"
#include "sim/sim.h"
#include "sim/state.h"
#include "sim/wait.h"
#include "simulated.h"
#include "transport.h"
#include "waits.h"
#include "watch.h"

enum {
    CLIENTS = 3, /* of the script; one more probes */
    WORKERS = 4,
    PAD_BYTES = 65536,
    PADS = 8, /* in one script */
    SENT_BYTES = (PADS + 2) * PAD_BYTES,
    GOT_BYTES = 8 << 20,
    OUTPUT_BYTES = 4096,
    STRANGER_UID = 4711,
};

struct client {
    int fd; /* -1: not connected, or not any more */
    bool opened;
    bool gone;  /* closed its end without a look at the replies */
    bool ended; /* sends no more */
    bool lost;  /* its bytes or replies are not all known */
    bool eof;   /* the daemon sends no more */
    char *sent, *got;
    size_t sent_length, got_length;
    size_t delivered; /* of what is to be sent */
};

struct session {
    struct ev_loop *loop;
    ev_idle idle;
    ev_timer tick; /* while a worker runs: it may have fallen asleep */
    bool is_idle;
    struct dmi_sim *sim;
    struct lease_table *leases;
    struct budget budget;
    struct dispatcher dispatcher;
    struct conns conns;
    struct http *http; /* NULL: built without */
    unsigned int flags;
    struct client clients[CLIENTS + 1];
    size_t current;
    size_t pads;
    bool post; /* the next bytes are a body */
};

/* --- sleep in the simulated kernel --- */

static atomic_size_t sleeping; /* workers, in sim_wait */
static pthread_t loop_thread;

int __real_sim_wait(struct dmi_sim *sim, uint64_t until_ms, bool signals);
int __wrap_sim_wait(struct dmi_sim *sim, uint64_t until_ms, bool signals);

/* Ends all that calls may sleep for. */
static void let_go(struct dmi_sim *sim)
{
    dmi_sim_fault_clear(sim);
    sim_lock(sim);
    for (struct sim_device *device = sim_registry_first(&sim->devices); device;
         device = device->entry.after) {
        device->stall = DMI_SIM_FLOWS;
    }
    sim_wake(sim);
    sim_unlock(sim);
}

/* The loop's thread must not sleep: nobody would be there to wake it. */
int __wrap_sim_wait(struct dmi_sim *sim, uint64_t until_ms, bool signals)
{
    if (pthread_equal(pthread_self(), loop_thread)) {
        (void)pthread_mutex_unlock(&sim->lock);
        let_go(sim);
        (void)pthread_mutex_lock(&sim->lock);
        return 0;
    }
    atomic_fetch_add(&sleeping, 1);
    int rc = __real_sim_wait(sim, until_ms, signals);
    atomic_fetch_sub(&sleeping, 1);
    return rc;
}

/* --- what would cost time only --- */

int __real_dmi_target_msg(struct dmi *dm, const struct dmi_id *id, uint64_t sector,
                          const char *message, uint32_t flags, size_t max_output,
                          struct dmi_message *ret_message);
int __wrap_dmi_target_msg(struct dmi *dm, const struct dmi_id *id, uint64_t sector,
                          const char *message, uint32_t flags, size_t max_output,
                          struct dmi_message *ret_message);

/* To zero and to copy the megabyte that is set aside for an answer would be most of a run. */
int __wrap_dmi_target_msg(struct dmi *dm, const struct dmi_id *id, uint64_t sector,
                          const char *message, uint32_t flags, size_t max_output,
                          struct dmi_message *ret_message)
{
    const size_t most = max_output > 0 && max_output < OUTPUT_BYTES ? max_output : OUTPUT_BYTES;

    return __real_dmi_target_msg(dm, id, sector, message, flags, most, ret_message);
}

/* --- the clients' ends --- */

static void client_open(struct session *session, struct client *client)
{
    const struct peer peer = {.uid = session->flags & SESSION_STRANGER ? STRANGER_UID : geteuid(),
                              .pid = getpid()};
    int fds[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    client->opened = true;
    if (conn_new(&session->conns, fds[1], &peer) == 0) {
        client->fd = fds[0];
        return;
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
    client->gone = true;
}

static void client_close(struct client *client)
{
    if (client->fd >= 0) {
        (void)close(client->fd);
    }
    client->fd = -1;
}

/* True where something came. */
static bool client_receive(struct client *client)
{
    bool some = false;

    while (client->fd >= 0 && !client->eof) {
        static char overflow[4096];
        bool full = client->got_length == GOT_BYTES;
        char *to = full ? overflow : client->got + client->got_length;
        size_t room = full ? sizeof(overflow) : GOT_BYTES - client->got_length;
        ssize_t n = recv(client->fd, to, room, 0);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        client->eof = n <= 0;
        client->lost = client->lost || full || n < 0;
        client->got_length += n > 0 && !full ? (size_t)n : 0;
        some = true;
    }
    return some;
}

/* --- turning the loop --- */

static void on_idle(struct ev_loop *loop, ev_idle *watcher, int events)
{
    struct session *session = watcher->data;

    (void)loop;
    (void)events;
    session->is_idle = true;
}

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static bool receive(struct session *session)
{
    bool some = false;

    for (size_t i = 0; i <= CLIENTS && !(session->flags & SESSION_DEAF); i++) {
        some = client_receive(&session->clients[i]) || some;
    }
    return some;
}

static void turn(struct session *session)
{
    session->is_idle = false;
    ev_idle_start(session->loop, &session->idle);
    (void)ev_run(session->loop, EVRUN_NOWAIT);
    ev_idle_stop(session->loop, &session->idle);
}

/* All workers that have something to do sleep in the kernel. */
static bool is_stuck(const struct session *session)
{
    size_t busy = workers_busy(session->dispatcher.workers);

    return atomic_load(&sleeping) >= (busy < WORKERS ? busy : WORKERS);
}

/* Until nothing happens any more by itself. */
static void settle(struct session *session)
{
    for (;;) {
        turn(session);
        if (receive(session) || !session->is_idle) {
            continue;
        }
        if (is_stuck(session)) {
            return;
        }
        ev_timer_again(session->loop, &session->tick);
        (void)ev_run(session->loop, EVRUN_ONCE);
        ev_timer_stop(session->loop, &session->tick);
    }
}

/* Until nothing runs, with nothing to sleep for. */
static void settle_all(struct session *session)
{
    do {
        let_go(session->sim);
        settle(session);
    } while (workers_busy(session->dispatcher.workers) > 0);
}

/* --- the script --- */

/* Gives the daemon what has been gathered. */
static void deliver(struct session *session, struct client *client)
{
    bool tried = false;

    while (client->fd >= 0 && client->delivered < client->sent_length && !client->lost) {
        ssize_t n = send(client->fd, client->sent + client->delivered,
                         client->sent_length - client->delivered, MSG_NOSIGNAL);
        if (n >= 0) {
            client->delivered += (size_t)n;
            tried = false;
        } else if (tried || errno != EAGAIN) {
            client->lost = true; /* the daemon does not read from it now, or has closed it */
        } else {
            settle(session);
            tried = true;
        }
    }
}

static void put(struct session *session, struct client *client, const char *bytes, size_t length)
{
    if (!client->opened && !session->dispatcher.closing) {
        client_open(session, client);
    }
    if (client->fd >= 0 && !client->ended && length <= SENT_BYTES - client->sent_length) {
        memcpy(client->sent + client->sent_length, bytes, length);
        client->sent_length += length;
    }
}

/* The bytes between two controls. */
static void put_piece(struct session *session, const uint8_t *bytes, size_t length)
{
    struct client *client = &session->clients[session->current];
    char head[128];

    if (session->post) {
        int n = snprintf(head, sizeof(head),
                         "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                         "Content-Length: %zu\r\n\r\n",
                         length);
        put(session, client, head, (size_t)n);
        session->post = false;
    }
    if (length > 0) {
        put(session, client, (const char *)bytes, length);
    }
}

static void end(struct session *session, struct client *client)
{
    deliver(session, client);
    if (client->fd >= 0 && !client->ended) {
        (void)shutdown(client->fd, SHUT_WR);
        client->ended = true;
    }
}

static void pad(struct session *session, struct client *client)
{
    static char blanks[PAD_BYTES];

    if (session->pads < PADS) {
        session->pads++;
        memset(blanks, ' ', sizeof(blanks));
        put(session, client, blanks, sizeof(blanks));
    }
}

static void shut_down(struct session *session)
{
    session->dispatcher.closing = true;
    waits_end_all(session->dispatcher.waits);
    calls_end_paused(&session->dispatcher.calls);
    conns_close(&session->conns);
    http_close(session->http);
}

static void control(struct session *session, enum session_control what)
{
    struct client *client = &session->clients[session->current];

    if (what == SESSION_PAD) {
        pad(session, client);
        return;
    }
    if (what == SESSION_POST) {
        session->post = true;
        return;
    }
    deliver(session, client);
    switch (what) {
    case SESSION_NEXT:
        session->current = (session->current + 1) % CLIENTS;
        break;
    case SESSION_END:
        end(session, client);
        break;
    case SESSION_CLOSE:
        client_close(client);
        client->gone = true;
        break;
    case SESSION_SHUTDOWN:
        shut_down(session);
        break;
    default:
        break;
    }
    if (what != SESSION_SPLIT) {
        settle(session);
    }
}

static bool is_control(uint8_t byte)
{
    return (byte >= SESSION_CUT && byte <= SESSION_SHUTDOWN) || byte == SESSION_POST;
}

static void play(struct session *session, const uint8_t *script, size_t size)
{
    size_t start = 0;
    size_t at = 0;

    while (at < size) {
        uint8_t byte = script[at];
        if (!is_control(byte)) {
            at++;
            continue;
        }
        put_piece(session, script + start, at - start);
        start = ++at;
        if (byte == SESSION_LITERAL) {
            at += at < size;
        } else {
            control(session, byte);
        }
    }
    put_piece(session, script + start, at - start);
}

/* --- what must hold --- */

static struct replies_limits limits_of(const struct session *session)
{
    const struct limits *limits = &session->dispatcher.host.limits;

    return (struct replies_limits){.scan = {limits->request_bytes, limits->depth, limits->values},
                                   .batch = limits->batch};
}

/* To those libmicrohttpd may leave the connection until its time is over. */
static bool speaks_http(const struct session *session, const struct client *client)
{
    return client->sent_length > 0 && http_wants(session->http, client->sent[0]);
}

/* `exact`: nothing has happened that may cost a client its replies. */
static void check_client(const struct session *session, const struct client *client, bool exact)
{
    const struct replies_limits limits = limits_of(session);

    if (client->gone || client->lost || client->got_length == 0) {
        exact = exact && !client->gone && !client->lost;
        if (!exact) {
            return;
        }
    }
    if (speaks_http(session, client)) {
        replies_check_http(client->got, client->got_length, client->sent, client->sent_length);
        return;
    }
    size_t count =
        replies_check(client->got, client->got_length, client->sent, client->sent_length);
    struct replies_owed owed =
        replies_owed(client->sent, client->sent_length, client->ended, &limits);
    CHECK(count <= owed.most + !exact); /* that there is no memory is told, too */
    CHECK(count >= owed.least || !exact);
}

static void check_nothing_left(const struct session *session)
{
    CHECK(session->conns.count == 0 && !session->conns.first);
    CHECK(http_count(session->http) == 0);
    CHECK(session->dispatcher.pending + session->dispatcher.woken == 0);
    CHECK(session->dispatcher.order.count == 0 && !session->dispatcher.order.first);
    CHECK(session->budget.used == 0);
    CHECK(workers_busy(session->dispatcher.workers) == 0);
}

static void check_probe(struct session *session)
{
    static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":\"probe\",\"method\":\"version\"}";
    static const char answer[] =
        "{\"jsonrpc\":\"2.0\",\"id\":\"probe\",\"result\":{\"version\":{\"major\":4,\"minor\":47,"
        "\"patch\":0},\"backend\":\"simulated\"}}\n";
    struct client *client = &session->clients[CLIENTS];

    put(session, client, ask, sizeof(ask) - 1);
    end(session, client);
    settle(session);
    CHECK(client->eof && client->got_length == sizeof(answer) - 1);
    CHECK(memcmp(client->got, answer, sizeof(answer) - 1) == 0);
}

/* --- a run --- */

static void set_limits(struct session *session)
{
    struct limits *limits = &session->dispatcher.host.limits;

    for (size_t i = 0; i < type_limits.count; i++) {
        const struct field *field = &type_limits.fields[i];
        void *at = (char *)limits + field->offset;
        if (field->kind == FIELD_U32) {
            *(uint32_t *)at = (uint32_t)field->preset;
        } else {
            *(uint64_t *)at = field->preset;
        }
    }
    /* Low enough to be met in a script. */
    limits->request_bytes = 4 * PAD_BYTES;
    limits->depth = 16;
    limits->values = 512;
    limits->batch = 8;
    limits->queued_calls = 3;
    limits->unsent_bytes = 16384;
    limits->reply_bytes = session->flags & SESSION_LONG ? 1 << 20 : 16384;
    limits->total_bytes = session->flags & SESSION_POOR ? 98304 : 32 << 20;
    session->budget.limit = limits->total_bytes;
}

/* Some disks, and a device on one of them. */
static void furnish(struct session *session)
{
    static const char *const paths[] = {"/dev/sim0", "/dev/sim1", "/dev/sim2", "/dev/sim3"};
    const struct dmi_target target = {.length = 1024, .type = "linear", .params = "/dev/sim0 0"};
    const struct dmi_id id = {.kind = DMI_BY_NAME, .name = "a"};
    struct dmi_info info;
    struct dmi dm;

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct dmi_sim_disk disk = {.sectors = 65536};
        memcpy(disk.path, paths[i], strlen(paths[i]) + 1);
        CHECK(dmi_sim_disk_add(session->sim, &disk, NULL) == 0);
    }
    dmi_init(&dm, session->dispatcher.host.transport);
    CHECK(dmi_device_create(&dm, "a", "A", 0, 0, &info) == 0);
    CHECK(dmi_table_load(&dm, &id, &target, 1, 0, &info) == 0);
    CHECK(dmi_device_resume(&dm, &id, 0, 0, &info) == 0);
}

static void run_begin(struct session *session, const struct session_plan *plan)
{
    struct host *host = &session->dispatcher.host;

    session->flags = plan->flags;
    session->current = session->pads = 0;
    session->post = false;
    for (size_t i = 0; i <= CLIENTS; i++) {
        struct client *client = &session->clients[i];
        *client = (struct client){.fd = -1, .sent = client->sent, .got = client->got};
    }
    set_limits(session);
    CHECK(dmi_sim_new(&session->sim) == 0);
    CHECK(dmi_sim_open(session->sim, &host->transport) == 0);
    host->block = simulated_host(session->sim);
    dmi_sim_clock_advance(session->sim, 0);
    host->sim = session->sim;
    CHECK(watch_new(&session->dispatcher, &session->dispatcher.watch) == 0);
    CHECK(waits_new(&session->dispatcher, &session->dispatcher.waits) == 0);
    CHECK(events_new(&session->dispatcher, &session->dispatcher.events) == 0);
    CHECK(lease_table_new(&session->leases) == 0);
    CHECK(keeper_new(&session->dispatcher, session->leases, NULL, &host->keeper) == 0);
    furnish(session);
}

static void on_conns_empty(struct conns *conns)
{
    CHECK(conns->closing && conns->count == 0);
}

static void on_http_empty(void *data)
{
    const struct session *session = data;

    CHECK(session->dispatcher.closing && http_count(session->http) == 0);
}

static void open_doors(struct session *session)
{
    struct dispatcher *dispatcher = &session->dispatcher;

    CHECK(http_new(dispatcher, on_http_empty, session, &session->http) == 0);
    CHECK(conns_init(&session->conns, dispatcher, session->http, on_conns_empty) == 0);
}

static void run_end(struct session *session)
{
    struct dispatcher *dispatcher = &session->dispatcher;

    for (size_t i = 0; i <= CLIENTS; i++) {
        client_close(&session->clients[i]);
    }
    settle_all(session);
    check_nothing_left(session);
    if (dispatcher->closing) {
        conns_done(&session->conns);
        session->http = http_free(session->http);
        dispatcher->closing = false;
        open_doors(session);
    }
    dispatcher->events = events_free(dispatcher->events);
    dispatcher->waits = waits_free(dispatcher->waits);
    dispatcher->watch = watch_free(dispatcher->watch);
    dispatcher->host.keeper = keeper_free(dispatcher->host.keeper);
    session->leases = lease_table_free(session->leases);
    dispatcher->host.transport = dmi_transport_free(dispatcher->host.transport);
    session->sim = dispatcher->host.sim = dmi_sim_free(session->sim);
}

/* The clients stop sending, and all that they asked for ends. */
static size_t run_out(struct session *session)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        end(session, &session->clients[i]);
    }
    settle(session);
    size_t refused = scarce_end();
    session->flags &= ~(unsigned int)SESSION_DEAF;
    settle_all(session);
    waits_end_all(session->dispatcher.waits);
    settle_all(session);
    return refused;
}

void session_run(struct session *session, const struct session_plan *plan, const uint8_t *script,
                 size_t size, struct session_told *ret_told)
{
    const long held = scarce_held();

    run_begin(session, plan);
    scarce_begin(plan->passes, plan->failures);
    play(session, script, size);
    size_t refused = run_out(session);

    bool exact = refused == 0 && !(plan->flags & SESSION_POOR) && !session->dispatcher.closing;
    for (size_t i = 0; i < CLIENTS; i++) {
        struct client *client = &session->clients[i];
        CHECK(client->fd < 0 || client->eof || client->lost || speaks_http(session, client) ||
              replies_subscribed(client->got, client->got_length));
        check_client(session, client, exact && client->opened);
    }
    if (!session->dispatcher.closing) {
        check_probe(session);
    }
    if (plan->inspect) {
        struct dmi dm;
        dmi_init(&dm, session->dispatcher.host.transport);
        plan->inspect(plan->context, &dm);
    }
    if (ret_told) {
        *ret_told = (struct session_told){
            .replies = session->clients[0].got,
            .length = session->clients[0].got_length,
            .refused = refused,
        };
    }
    run_end(session);
    CHECK(scarce_held() == held);
}

/* --- the daemon --- */

struct session *session_new(void)
{
    struct session *session = calloc(1, sizeof(*session));
    CHECK(session);
    struct dispatcher *dispatcher = &session->dispatcher;

    json_object_seed(1); /* the same run twice is to be the same */
    json_memory_init();
    loop_thread = pthread_self();
    session->loop = ev_loop_new(EVFLAG_AUTO);
    CHECK(session->loop);
    ev_idle_init(&session->idle, on_idle);
    ev_set_priority(&session->idle, EV_MINPRI); /* after those who wait in line */
    session->idle.data = session;
    ev_timer_init(&session->tick, on_tick, 0., 0.001);
    for (size_t i = 0; i <= CLIENTS; i++) {
        struct client *client = &session->clients[i];
        client->sent = malloc(SENT_BYTES);
        client->got = malloc(GOT_BYTES);
        CHECK(client->sent && client->got);
    }
    dispatcher->loop = session->loop;
    turns_init(&dispatcher->turns, session->loop);
    dispatcher->budget = &session->budget;
    dispatcher->host.backend = "simulated";
    memcpy(dispatcher->host.instance, "00000000-0000-0000-0000-000000000000", 37);
    dispatcher->host.pid = getpid();
    CHECK(workers_new(session->loop, WORKERS, &dispatcher->workers) == 0);
    CHECK(rules_new_builtin(geteuid(), &dispatcher->rules) == 0);
    set_limits(session);
    open_doors(session);
    return session;
}

struct session *session_free(struct session *session)
{
    if (session) {
        conns_done(&session->conns);
        (void)http_free(session->http);
        (void)workers_free(session->dispatcher.workers);
        (void)rules_unref(session->dispatcher.rules);
        ev_loop_destroy(session->loop);
        for (size_t i = 0; i <= CLIENTS; i++) {
            free(session->clients[i].sent);
            free(session->clients[i].got);
        }
        free(session);
    }
    return NULL;
}
