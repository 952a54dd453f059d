/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections. Everything that can happen to one ends in pump(), which goes on
 * with what it can and then, at its very end, decides what to wait for or whether
 * the connection is over: no other place frees one that is in use. It knows
 * framing and order, not what requests mean.
 */
#include "conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buffer.h"
#include "container_of.h"
#include "http.h"
#include "keeper.h"
#include "rpc.h"

enum {
    DOCUMENTS_A_TURN = 32,      /* then other connections have theirs; */
    BYTES_A_TURN = 8192,        /* the same for longer documents */
    LINGER_BYTES = 1024 * 1024, /* of unread input that are drained before a close, */
    LINGER_SECONDS = 1,         /* and for how long */
    CLOSING_SECONDS = 1,        /* how long, at the server's end, what comes is still refused */
    MOST_REFUSED = 64           /* connections that are only told why they are not served */
};

struct conn {
    struct conns *conns;
    struct conn *next, *previous;
    int fd;
    struct peer peer;
    struct conns_user *user; /* NULL: it is only told why it is not served */
    ev_io reader, writer;
    struct turn turn; /* there is more to do, when others have had their turn */
    ev_timer stall;   /* the peer does not read */
    ev_timer linger;

    struct buffer in; /* not served yet */
    size_t scanned;   /* how far, from its start, the scanner has seen it */
    struct scan scan;

    struct out out;
    struct rpc *current; /* is being served: nothing else is begun */
    struct rpc *parked;  /* a list: calls that wait for events */

    struct sink sink;   /* what its subscriptions have to tell; they wait there while */
    size_t event_bytes; /* of `out`, its first bytes, are events; the rest are replies */

    bool greeted; /* its first byte has been seen */
    bool floods;  /* the last read brought all that it could */
    bool eof;     /* the peer sends no more */
    bool closing; /* nothing more is served; what is owed is written, then it ends */
    bool lingering;
    bool broken;    /* there is nobody to write to */
    bool in_hangup; /* where its end is noticed while nothing is read */
    bool gone;      /* the peer has closed; what it had sent is served all the same */
    size_t lingered;
    ev_tstamp closing_ends; /* at the server's end: what has come by then is at least refused */
};

static void pump(struct conn *conn);

static struct ev_loop *loop_of(const struct conn *conn)
{
    return conn->conns->dispatcher->loop;
}

static struct turns *turns_of(const struct conn *conn)
{
    return &conn->conns->dispatcher->turns;
}

static const struct limits *limits_of(const struct conn *conn)
{
    return &conn->conns->dispatcher->host.limits;
}

static struct protocol_stats *traffic_of(const struct conn *conn)
{
    return &conn->conns->dispatcher->counters.protocols[STATS_RAW];
}

/* --- the end --- */

static void in_free(struct conn *conn)
{
    buffer_done(&conn->in, conn->conns->dispatcher->budget);
}

static void stop_watchers(struct conn *conn)
{
    ev_io_stop(loop_of(conn), &conn->reader);
    ev_io_stop(loop_of(conn), &conn->writer);
    turns_remove(turns_of(conn), &conn->turn);
    ev_timer_stop(loop_of(conn), &conn->stall);
    ev_timer_stop(loop_of(conn), &conn->linger);
}

/* NULL where the user has no connection. */
static struct conns_user *user_find(const struct conns *conns, uid_t uid)
{
    struct conns_user *user = conns->users;

    while (user && user->uid != uid) {
        user = user->next;
    }
    return user;
}

/* NULL where there is no memory. */
static struct conns_user *user_add(struct conns *conns, uid_t uid)
{
    struct conns_user *user = user_find(conns, uid);

    if (!user) {
        user = calloc(1, sizeof(*user));
        if (!user) {
            return NULL;
        }
        *user = (struct conns_user){.next = conns->users, .uid = uid};
        conns->users = user;
    }
    user->count++;
    conns->count++;
    return user;
}

static void user_remove(struct conns *conns, struct conns_user *user)
{
    struct conns_user **at = &conns->users;

    conns->count--;
    if (--user->count == 0) {
        while (*at != user) {
            at = &(*at)->next;
        }
        *at = user->next;
        free(user);
    }
}

static void conn_free(struct conn *conn)
{
    struct conns *conns = conn->conns;

    stop_watchers(conn);
    if (conn->in_hangup) {
        hangup_remove(&conns->hangup, conn->fd);
    }
    if (conn->fd >= 0) {
        (void)close(conn->fd);
    }
    if (conn->current) {
        rpc_abandon(conn->current);
    }
    while (conn->parked) {
        struct rpc *rpc = conn->parked;
        conn->parked = rpc->next;
        rpc_abandon(rpc);
    }
    sink_done(&conn->sink);
    peer_unref(&conn->peer);
    in_free(conn);
    out_done(&conn->out);
    if (conn->previous) {
        conn->previous->next = conn->next;
    } else {
        conns->first = conn->next;
    }
    if (conn->next) {
        conn->next->previous = conn->previous;
    }
    keeper_disconnected(conns->dispatcher->host.keeper, conn->peer.connection);
    if (conn->user) {
        user_remove(conns, conn->user);
        traffic_of(conn)->open--;
    } else {
        conns->refused--;
    }
    free(conn);
    if (conns->closing && conns->count == 0) {
        conns->empty(conns);
    }
}

/* --- what it is told --- */

/* An error that belongs to no request; nothing more is served after it. */
static void refuse(struct conn *conn, const struct failure *failure)
{
    rpc_put_error(conn->conns->dispatcher, &conn->out, failure);
    conn->closing = true;
}

static void refuse_memory(struct conn *conn)
{
    struct failure failure;

    failure_set(&failure, ERROR_OVERLOADED,
                "There is no memory for the request now. It was not carried out.");
    refuse(conn, &failure);
}

/* --- requests --- */

static void unpark(struct conn *conn, struct rpc *rpc)
{
    if (rpc->previous) {
        rpc->previous->next = rpc->next;
    } else {
        conn->parked = rpc->next;
    }
    if (rpc->next) {
        rpc->next->previous = rpc->previous;
    }
}

/* Takes the reply of a request that has ended, and frees it. */
static void collect(struct conn *conn, struct rpc *rpc)
{
    conn->closing = conn->closing || rpc->close;
    out_move(&conn->out, &rpc->out);
    (void)rpc_free(rpc);
}

static void park(struct conn *conn, struct rpc *rpc)
{
    rpc->next = conn->parked;
    if (conn->parked) {
        conn->parked->previous = rpc;
    }
    conn->parked = rpc;
}

static void on_rpc_ended(struct rpc *rpc)
{
    struct conn *conn = rpc->owner;

    if (rpc != conn->current) {
        unpark(conn, rpc);
        collect(conn, rpc);
    } else if (rpc->parked) {
        conn->current = NULL;
        park(conn, rpc);
    } else {
        conn->current = NULL;
        collect(conn, rpc);
    }
    pump(conn);
}

static void begun(struct conn *conn, struct rpc *rpc, bool ended)
{
    if (ended) {
        collect(conn, rpc);
    } else if (!rpc) {
        refuse_memory(conn);
    } else if (rpc->parked) {
        park(conn, rpc);
    } else {
        conn->current = rpc;
    }
}

static void serve(struct conn *conn, const char *text, size_t length)
{
    struct rpc *rpc;
    bool ended =
        rpc_begin(conn->conns->dispatcher, &conn->peer, text, length, conn, on_rpc_ended, &rpc);

    begun(conn, rpc, ended);
}

/* A long text that is at the front of what is kept; what is behind it is kept anew. */
static void serve_kept(struct conn *conn, size_t length)
{
    struct dispatcher *dispatcher = conn->conns->dispatcher;
    struct buffer whole = conn->in;
    const char *rest = whole.bytes + whole.start + length;
    struct rpc *rpc;

    conn->in = (struct buffer){0};
    if (whole.start + length < whole.end &&
        !buffer_append(&conn->in, dispatcher->budget, rest, whole.end - whole.start - length)) {
        buffer_done(&whole, dispatcher->budget);
        refuse_memory(conn);
        return;
    }
    bool ended = rpc_begin_kept(dispatcher, &conn->peer, &whole, length, conn, on_rpc_ended, &rpc);
    buffer_done(&whole, dispatcher->budget);
    begun(conn, rpc, ended);
}

static bool may_serve(const struct conn *conn)
{
    return !conn->current && !conn->closing && !conn->broken &&
           conn->out.length - conn->event_bytes <= limits_of(conn)->unsent_bytes;
}

static void refuse_scan(struct conn *conn, enum scan_result result)
{
    rpc_put_scan_error(conn->conns->dispatcher, &conn->out, result);
    conn->closing = true;
}

/*
 * Serves the documents in `bytes`, as many as may be now. Returns how many bytes
 * are done with; conn->scanned counts from there.
 */
static size_t consume(struct conn *conn, const char *bytes, size_t length)
{
    const struct limits *limits = limits_of(conn);
    const bool kept = conn->in.bytes;
    const struct scan_limits scan_limits = {limits->request_bytes, limits->depth, limits->values};
    size_t start = 0;
    size_t used;
    size_t blank;

    for (int i = 0; may_serve(conn) && start + conn->scanned < length; i++) {
        if (i == DOCUMENTS_A_TURN || (i > 0 && start >= BYTES_A_TURN)) {
            turns_add(turns_of(conn), &conn->turn);
            break;
        }
        size_t at = start + conn->scanned;
        enum scan_result result =
            scan_feed(&conn->scan, &scan_limits, bytes + at, length - at, &used, &blank);
        conn->scanned += used - blank;
        start += blank;
        if (result == SCAN_DOCUMENT) {
            size_t document = conn->scanned;
            conn->scanned = 0;
            if (kept && document > CONN_READ_BYTES) {
                conn->in.start += start;
                serve_kept(conn, document);
                return 0;
            }
            start += document;
            serve(conn, bytes + start - document, document);
        } else if (result != SCAN_MORE) {
            refuse_scan(conn, result);
        }
    }
    return start;
}

/* --- input --- */

/* What was just read: served from the shared buffer, as far as it can be; the rest is kept. */
static void take(struct conn *conn, const char *bytes, size_t length)
{
    size_t done = conn->in.bytes ? 0 : consume(conn, bytes, length);

    if (done < length && !conn->closing &&
        !buffer_append(&conn->in, conn->conns->dispatcher->budget, bytes + done, length - done)) {
        refuse_memory(conn);
    }
}

/* What is kept from before. */
static void consume_kept(struct conn *conn)
{
    struct buffer *in = &conn->in;

    if (in->bytes) {
        size_t done = consume(conn, in->bytes + in->start, in->end - in->start);
        in->start += done;
        if (in->start == in->end || conn->closing) {
            in_free(conn);
        }
    }
}

/* All has been served that was whole when the peer stopped sending; is there a rest? */
static void consume_end(struct conn *conn)
{
    enum scan_result result = scan_end(&conn->scan);

    if (result == SCAN_DOCUMENT) {
        conn->scanned = 0;
        serve(conn, conn->in.bytes + conn->in.start, conn->in.end - conn->in.start);
    } else if (result == SCAN_GARBAGE) {
        struct failure failure;
        failure_set(&failure, ERROR_PARSE_ERROR, "The input ended in the middle of a request.");
        refuse(conn, &failure);
    }
    in_free(conn);
}

/* True where the first byte says that another protocol is spoken here: the socket has gone there.
 */
static bool hand_over(struct conn *conn)
{
    struct http *http = conn->conns->http;
    char first;

    if (conn->greeted || recv(conn->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1) {
        return false;
    }
    conn->greeted = true;
    if (!http_wants(http, first)) {
        return false;
    }
    stop_watchers(conn);
    conn->peer.connection = 0; /* the next request may come by another */
    conn->peer.sink = NULL;
    http_take(http, conn->fd, &conn->peer);
    conn->fd = -1;
    conn_free(conn);
    return true;
}

static void linger_read(struct conn *conn, size_t length)
{
    conn->lingered += length;
    conn->broken = conn->broken || conn->lingered > LINGER_BYTES;
}

static void receive(struct conn *conn)
{
    char *buffer = conn->conns->read_buffer;
    ssize_t n = recv(conn->fd, buffer, CONN_READ_BYTES, MSG_DONTWAIT);

    conn->floods = n == CONN_READ_BYTES;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    traffic_of(conn)->received_bytes += n > 0 ? (uint64_t)n : 0;
    if (n < 0) {
        conn->broken = true;
    } else if (n == 0) {
        conn->eof = true;
    } else if (conn->lingering) {
        linger_read(conn, (size_t)n);
    } else {
        take(conn, buffer, (size_t)n);
    }
    if (n > 0) {
        explicit_bzero(buffer, (size_t)n);
    }
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct conn *conn = watcher->data;

    (void)loop;
    (void)events;
    if (!hand_over(conn)) {
        receive(conn);
        pump(conn);
    }
}

/* --- output --- */

/* The peer has had its time, to read or to close. */
static void on_patience_over(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct conn *conn = watcher->data;

    (void)loop;
    (void)events;
    conn->broken = true;
    pump(conn);
}

/* Whole events go between replies, and only while no reply is unsent. */
static bool take_events(struct conn *conn)
{
    if (conn->out.length > 0 || conn->closing) {
        return false;
    }
    sink_take(&conn->sink, &conn->out);
    conn->event_bytes = conn->out.length;
    return conn->event_bytes > 0;
}

static void send_out(struct conn *conn)
{
    ssize_t sent = out_send(&conn->out, conn->fd);

    if (sent > 0) {
        traffic_of(conn)->sent_bytes += (uint64_t)sent;
        conn->event_bytes -= (size_t)sent < conn->event_bytes ? (size_t)sent : conn->event_bytes;
        ev_timer_stop(loop_of(conn), &conn->stall);
    }
    if (sent < 0 || conn->out.error) {
        conn->broken = true;
    }
}

/* A peer that does not read replies is given up in time; events wait, and are lost to it. */
static void flush(struct conn *conn)
{
    send_out(conn);
    bool took = !conn->broken && take_events(conn);
    if (took) {
        send_out(conn);
    }
    if (conn->broken) {
        return;
    }
    if (conn->out.length > 0) {
        ev_io_start(loop_of(conn), &conn->writer);
    } else {
        ev_io_stop(loop_of(conn), &conn->writer);
        if (took) {
            events_ready(&conn->sink); /* there may be more; others have their turn first */
        }
    }
    if (conn->out.length == conn->event_bytes) {
        ev_timer_stop(loop_of(conn), &conn->stall);
    } else if (!ev_is_active(&conn->stall)) {
        ev_timer_set(&conn->stall, (ev_tstamp)limits_of(conn)->stall_seconds, 0.);
        ev_timer_start(loop_of(conn), &conn->stall);
    }
}

/*
 * All that was owed is written. To close a socket with input unread makes the peer
 * see a reset, perhaps before it has read the reply: stop writing, drain, then close.
 */
static void linger(struct conn *conn)
{
    conn->lingering = true;
    (void)shutdown(conn->fd, SHUT_WR);
    ev_timer_set(&conn->linger, LINGER_SECONDS, 0.);
    ev_timer_start(loop_of(conn), &conn->linger);
}

/* --- what next --- */

/* Input that was held up: replies were unsent, or others had their turn. */
static bool has_unserved(const struct conn *conn)
{
    return conn->in.bytes && conn->in.start + conn->scanned < conn->in.end;
}

/* It may hear of something though it asks for nothing more. */
static bool listens(const struct conn *conn)
{
    return conn->parked || sink_is_used(&conn->sink);
}

/* Nothing more will come of it, now or later. */
static bool is_over(struct conn *conn)
{
    if (conn->broken) {
        return true;
    }
    bool owes = conn->current || conn->out.length > 0 || conn->turn.waits;
    return conn->eof && !owes && (conn->closing || conn->gone || !listens(conn));
}

static bool wants_input(const struct conn *conn)
{
    return !conn->eof && (conn->lingering || (may_serve(conn) && !has_unserved(conn)));
}

/*
 * Who waits for a call of its own, or has half closed, is not read: that it has closed altogether
 * is heard otherwise, because leases end with it. Once for a connection: it costs a system call.
 */
static void watch_end(struct conn *conn)
{
    bool deaf = conn->current || (conn->eof && listens(conn));

    if (deaf && !conn->in_hangup && !conn->gone) {
        conn->in_hangup = hangup_add(&conn->conns->hangup, conn->fd, conn) == 0;
    }
}

static void watch(struct conn *conn)
{
    bool wants = wants_input(conn);

    /* Who sends more than a read brings waits in line for the next one. */
    if (wants && conn->floods) {
        turns_add(turns_of(conn), &conn->turn);
    }
    if (wants && !conn->turn.waits) {
        ev_io_start(loop_of(conn), &conn->reader);
    } else {
        ev_io_stop(loop_of(conn), &conn->reader);
    }
    watch_end(conn);
}

/* At the server's end: what the peer had sent by then is read and told so. */
static bool has_unread(const struct conn *conn)
{
    int unread;

    return !conn->eof && !conn->broken && ev_now(loop_of(conn)) < conn->closing_ends &&
           ioctl(conn->fd, FIONREAD, &unread) == 0 && unread > 0;
}

static void pump(struct conn *conn)
{
    /* From when a call that ran at the end is done: until then nothing behind it is read. */
    if (conn->conns->closing && !conn->current && conn->closing_ends == 0.) {
        conn->closing_ends = ev_now(loop_of(conn)) + CLOSING_SECONDS;
    }
    if (!conn->turn.waits) {
        consume_kept(conn);
        if (conn->eof && may_serve(conn) && !conn->turn.waits) {
            consume_end(conn);
        }
    }
    if (conn->conns->closing && !conn->current && !conn->parked && !conn->turn.waits &&
        !has_unread(conn)) {
        conn->closing = true;
    }
    if (!conn->broken) {
        flush(conn);
    }
    if (has_unserved(conn) && may_serve(conn)) {
        turns_add(turns_of(conn), &conn->turn);
    }
    if (conn->closing && !conn->lingering && !conn->current) {
        if (conn->out.length == 0) {
            linger(conn);
        } else if (conn->out.length == conn->event_bytes && !ev_is_active(&conn->linger)) {
            /* The rest of the events is not worth more time than a close is. */
            ev_timer_set(&conn->linger, LINGER_SECONDS, 0.);
            ev_timer_start(loop_of(conn), &conn->linger);
        }
    }
    if (is_over(conn)) {
        conn_free(conn);
    } else {
        watch(conn);
    }
}

/* A long reply goes out piece by piece, as others have theirs. */
static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct conn *conn = watcher->data;

    (void)events;
    ev_io_stop(loop, watcher);
    turns_add(turns_of(conn), &conn->turn);
}

static void on_turn(struct turn *turn)
{
    struct conn *conn = container_of(turn, struct conn, turn);

    if (conn->floods && wants_input(conn)) {
        receive(conn);
    }
    pump(conn);
}

static void on_events(struct sink *sink)
{
    pump(container_of(sink, struct conn, sink));
}

static void on_gone(void *who)
{
    struct conn *conn = who;

    conn->gone = true;
    conn->in_hangup = false;
    hangup_remove(&conn->conns->hangup, conn->fd);
    keeper_disconnected(conn->conns->dispatcher->host.keeper, conn->peer.connection);
    pump(conn);
}

/* --- all of them --- */

int conns_init(struct conns *conns, struct dispatcher *dispatcher, struct http *http,
               void (*empty)(struct conns *conns))
{
    conns->dispatcher = dispatcher;
    conns->http = http;
    conns->empty = empty;
    conns->first = NULL;
    conns->count = conns->refused = 0;
    conns->users = NULL;
    conns->closing = false;
    return hangup_init(&conns->hangup, dispatcher->loop, HANGUP_FULL, on_gone);
}

void conns_done(struct conns *conns)
{
    conns->closing = false;
    while (conns->first) {
        conn_free(conns->first);
    }
    hangup_done(&conns->hangup);
}

void conns_close(struct conns *conns)
{
    conns->closing = true;
    if (conns->count == 0) {
        conns->empty(conns);
    }
    for (struct conn *conn = conns->first, *next; conn; conn = next) {
        next = conn->next;
        pump(conn);
    }
}

size_t conns_count_user(const struct conns *conns, uid_t uid)
{
    const struct conns_user *user = user_find(conns, uid);

    return user ? user->count : 0;
}

bool conns_has(const struct conns *conns, uint64_t number)
{
    const struct conn *conn = conns->first;

    while (conn && conn->peer.connection != number) {
        conn = conn->next;
    }
    return conn && !conn->gone;
}

static struct conn *conn_add(struct conns *conns, int fd, const struct peer *peer)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    if (!conn) {
        return NULL;
    }
    conn->conns = conns;
    conn->fd = fd;
    conn->peer = peer_ref(peer);
    conn->peer.connection = ++conns->last_number;
    sink_init(&conn->sink, conns->dispatcher->events, on_events);
    conn->peer.sink = &conn->sink;
    out_init(&conn->out, SIZE_MAX, conns->dispatcher->budget);
    ev_io_init(&conn->reader, on_readable, fd, EV_READ);
    ev_io_init(&conn->writer, on_writable, fd, EV_WRITE);
    conn->turn.run = on_turn;
    ev_init(&conn->stall, on_patience_over);
    ev_init(&conn->linger, on_patience_over);
    conn->reader.data = conn->writer.data = conn->stall.data = conn->linger.data = conn;
    conn->next = conns->first;
    if (conn->next) {
        conn->next->previous = conn;
    }
    conns->first = conn;
    return conn;
}

int conn_new(struct conns *conns, int fd, const struct peer *peer)
{
    struct conns_user *user = user_add(conns, peer->uid);
    struct conn *conn = user ? conn_add(conns, fd, peer) : NULL;

    if (conn) {
        conn->user = user;
        traffic_of(conn)->open++;
        conns->dispatcher->counters.stats.connections_accepted++;
        watch(conn);
    } else if (user) {
        user_remove(conns, user);
    }
    return conn ? 0 : -ENOMEM;
}

int conn_refuse(struct conns *conns, int fd, const struct peer *peer, const struct failure *failure)
{
    struct conn *conn = conns->refused < MOST_REFUSED ? conn_add(conns, fd, peer) : NULL;

    if (!conn) {
        return conns->refused < MOST_REFUSED ? -ENOMEM : -EAGAIN;
    }
    conns->refused++;
    conn->greeted = true;
    refuse(conn, failure);
    pump(conn);
    return 0;
}
