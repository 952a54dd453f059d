/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd in our loop. Its own epoll set is watched like any descriptor;
 * when that is readable, or its timer is due, it runs and calls on_request() for
 * each step of each request. While a call runs the request is suspended; then
 * libmicrohttpd does not watch the socket, and hangup.c does.
 */
#include "http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "access.h"
#include "buffer.h"
#include "container_of.h"
#include "hangup.h"
#include "http_request.h"
#include "metrics.h"
#include "rpc.h"
#include "stats.h"

enum {
    /*
     * What libmicrohttpd gives each client for its header and its reads. Above 32 KiB
     * it maps that memory, which goes back to the system at the close; it zeroes it
     * after each request.
     */
    POOL_BYTES = 36 * 1024,
    /* A refused request is read on for so long: a peer that still sends would miss the reply. */
    SWALLOW_BYTES = 16 * 1024 * 1024,
    STREAM_BYTES = 16 * 1024, /* of a stream that are read at once */
};

/* A stream with nothing to say says so: proxies and clients take silence for a lost peer. */
static const ev_tstamp KEEP_ALIVE_SECONDS = 15;
static const ev_tstamp END_AGAIN = 0.05;

struct http {
    struct dispatcher *dispatcher;
    struct MHD_Daemon *daemon;
    struct hangup full, half;
    ev_io ready;
    ev_timer timer;
    struct client *first;
    size_t count;
    bool closing;
    void (*empty)(void *data);
    void *data;
};

/* A connection. */
struct client {
    struct http *http;
    struct client *next, *previous;
    int fd; /* libmicrohttpd's to close */
    struct peer peer;
    struct exchange *exchange; /* NULL: it is idle */
    ev_timer ended;            /* its input has; see on_half_closed */
};

/* A request and its reply. */
struct exchange {
    struct client *client;
    struct MHD_Connection *connection;
    const struct resource *resource;
    struct http_verdict verdict;
    bool post; /* POST, else GET or HEAD */

    size_t received; /* bytes of the body, used or not */
    struct scan scan;
    struct buffer text; /* the one JSON text of the body */
    bool whole;         /* its end has come, */
    bool more;          /* and another text after it */
    bool unkept;        /* there was no memory for it */
    enum scan_result fault;

    bool begun;
    struct rpc *rpc; /* runs; the exchange is suspended */
    struct out reply;
    bool lost; /* there was no memory for the reply */
    bool gone; /* the client has gone meanwhile */

    bool head;        /* HEAD: a stream would have no end */
    bool streams;     /* it is a stream of events: */
    bool asleep;      /* suspended: there is nothing to send */
    bool nudge;       /* there was nothing for long */
    struct sink sink; /* what there is */
    struct out sending;
    ev_timer keep_alive;
};

struct resource {
    const char *path;
    const char *allow;
    enum MHD_Result (*answer)(struct exchange *exchange);
};

static struct dispatcher *dispatcher_of(const struct exchange *exchange)
{
    return exchange->client->http->dispatcher;
}

static const struct limits *limits_of(const struct exchange *exchange)
{
    return &dispatcher_of(exchange)->host.limits;
}

static struct budget *budget_of(const struct exchange *exchange)
{
    return dispatcher_of(exchange)->budget;
}

/* The headers that libmicrohttpd puts before replies are not counted. */
static struct protocol_stats *traffic_of(const struct http *http)
{
    return &http->dispatcher->counters.protocols[STATS_HTTP];
}

/* The limit may be another one than when the daemon of libmicrohttpd was made. */
static void set_timeout(const struct http *http, struct MHD_Connection *connection)
{
    (void)MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                    (unsigned int)http->dispatcher->host.limits.stall_seconds);
}

/* --- the loop --- */

/* Lets libmicrohttpd run in this turn of the loop. */
static void kick(struct http *http)
{
    ev_feed_event(http->dispatcher->loop, &http->ready, EV_READ);
}

static void run(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG wait;

    (void)MHD_run(http->daemon);
    ev_timer_stop(http->dispatcher->loop, &http->timer);
    if (MHD_get_timeout(http->daemon, &wait) == MHD_YES) {
        ev_timer_set(&http->timer, (ev_tstamp)wait / 1e3, 0.);
        ev_timer_start(http->dispatcher->loop, &http->timer);
    }
    if (http->closing && http->count == 0) {
        http->empty(http->data);
    }
}

static void on_ready(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    run(watcher->data);
}

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    run(watcher->data);
}

/* --- replies --- */

/* Queues and releases a response of `length` bytes; `type` may be NULL. */
static enum MHD_Result queue(struct exchange *exchange, unsigned int status, const char *type,
                             size_t length, struct MHD_Response *response)
{
    enum MHD_Result rc = MHD_NO;

    if (!response) {
        return MHD_NO;
    }
    bool close = exchange->client->http->closing || exchange->verdict.close;
    if ((!type || MHD_add_response_header(response, "Content-Type", type) == MHD_YES) &&
        MHD_add_response_header(response, "Cache-Control", "no-store") == MHD_YES &&
        MHD_add_response_header(response, "X-Content-Type-Options", "nosniff") == MHD_YES &&
        (!exchange->verdict.allow ||
         MHD_add_response_header(response, "Allow", exchange->verdict.allow) == MHD_YES) &&
        (!close || MHD_add_response_header(response, "Connection", "close") == MHD_YES)) {
        rc = MHD_queue_response(exchange->connection, status, response);
        traffic_of(exchange->client->http)->sent_bytes += length;
    }
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result queue_static(struct exchange *exchange, unsigned int status,
                                    const char *type, const char *text)
{
    /* Persistent: it is only read. */
    union {
        const char *text;
        void *buffer;
    } body = {.text = text};
    return queue(
        exchange, status, type, strlen(text),
        MHD_create_response_from_buffer(strlen(text), body.buffer, MHD_RESPMEM_PERSISTENT));
}

/* The refusal of the verdict. */
static enum MHD_Result queue_verdict(struct exchange *exchange)
{
    const struct http_verdict *verdict = &exchange->verdict;

    return verdict->why
               ? queue_static(exchange, verdict->status, "text/plain; charset=utf-8", verdict->why)
               : queue_static(exchange, verdict->status, NULL, "");
}

static void reply_free(void *data)
{
    struct out *out = data;

    out_done(out);
    free(out);
}

/* Sends `out`, which is empty then, from where it lies. */
static enum MHD_Result queue_out(struct exchange *exchange, const char *type, struct out *out)
{
    size_t count = out_pieces(out, NULL, 0);
    size_t length = out->length;
    struct iovec *pieces = calloc(count, sizeof(*pieces));
    struct MHD_IoVec *iov = calloc(count, sizeof(*iov));
    struct out *own = malloc(sizeof(*own));
    struct MHD_Response *response = NULL;

    if (pieces && iov && own) {
        (void)out_pieces(out, pieces, count);
        for (size_t i = 0; i < count; i++) {
            iov[i] = (struct MHD_IoVec){pieces[i].iov_base, pieces[i].iov_len};
        }
        *own = *out;
        response = MHD_create_response_from_iovec(iov, (unsigned int)count, reply_free, own);
    }
    if (response) {
        out_init(out, SIZE_MAX, own->budget);
    } else {
        free(own);
    }
    free(pieces);
    free(iov);
    return queue(exchange, MHD_HTTP_OK, type, length, response);
}

/* --- JSON-RPC --- */

static void refuse_text(struct exchange *exchange, enum error_id id, const char *why)
{
    struct failure failure;

    failure_set(&failure, id, "%s", why);
    rpc_put_error(dispatcher_of(exchange), &exchange->reply, &failure);
}

static void refuse_memory(struct exchange *exchange)
{
    refuse_text(exchange, ERROR_OVERLOADED,
                "There is no memory for the request now. It was not carried out.");
}

/* Takes the reply of the request, which has ended. */
static void collect(struct exchange *exchange, struct rpc *rpc)
{
    exchange->lost = rpc->close;
    out_move(&exchange->reply, &rpc->out);
    (void)rpc_free(rpc);
}

static void resume(struct exchange *exchange)
{
    struct client *client = exchange->client;

    hangup_remove(&client->http->full, client->fd);
    MHD_resume_connection(exchange->connection);
    kick(client->http);
}

static void on_rpc_ended(struct rpc *rpc)
{
    struct exchange *exchange = rpc->owner;

    if (!rpc->parked) { /* else it waits for an event, as it may */
        exchange->rpc = NULL;
        collect(exchange, rpc);
        resume(exchange);
    }
}

static void on_gone(void *who)
{
    struct exchange *exchange = who;

    exchange->gone = true;
    if (exchange->rpc) {
        rpc_abandon(exchange->rpc);
        exchange->rpc = NULL;
    }
    exchange->asleep = false;
    resume(exchange);
}

/* Begins the request in the body; where it has not ended at once the exchange is suspended. */
static void begin_text(struct exchange *exchange)
{
    struct client *client = exchange->client;
    struct buffer *text = &exchange->text;
    struct rpc *rpc;

    bool ended = rpc_begin(client->http->dispatcher, &client->peer, text->bytes + text->start,
                           text->end - text->start, exchange, on_rpc_ended, &rpc);
    buffer_done(text, budget_of(exchange));
    if (ended) {
        collect(exchange, rpc);
    } else if (!rpc) {
        refuse_memory(exchange);
    } else {
        exchange->rpc = rpc;
        MHD_suspend_connection(exchange->connection);
        (void)hangup_add(&client->http->full, client->fd, exchange);
    }
}

static void begin(struct exchange *exchange)
{
    exchange->begun = true;
    if (exchange->unkept) {
        refuse_memory(exchange);
    } else if (exchange->fault != SCAN_MORE) {
        rpc_put_scan_error(dispatcher_of(exchange), &exchange->reply, exchange->fault);
    } else if (exchange->more) {
        refuse_text(exchange, ERROR_PARSE_ERROR,
                    "The body holds more than one JSON text. Several requests go in a batch.");
    } else if (!exchange->whole && scan_end(&exchange->scan) != SCAN_DOCUMENT) {
        refuse_text(exchange, ERROR_PARSE_ERROR, "The body ended before a JSON text did.");
    } else {
        begin_text(exchange);
    }
}

static enum MHD_Result post(struct exchange *exchange)
{
    if (!exchange->begun) {
        begin(exchange);
        if (exchange->rpc) {
            return MHD_YES;
        }
    }
    if (exchange->lost || exchange->reply.error) {
        return queue_static(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain; charset=utf-8",
                            "There is no memory for the reply now. The call itself may have been "
                            "carried out: look before you repeat it.\n");
    }
    if (exchange->reply.length == 0) {
        exchange->verdict = (struct http_verdict){.status = MHD_HTTP_NO_CONTENT};
        return queue_verdict(exchange);
    }
    return queue_out(exchange, "application/json", &exchange->reply);
}

/* --- events --- */

static void wake(struct exchange *exchange)
{
    if (exchange->asleep) {
        exchange->asleep = false;
        resume(exchange);
    }
}

static void on_events(struct sink *sink)
{
    wake(container_of(sink, struct exchange, sink));
}

static void on_keep_alive(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct exchange *exchange = watcher->data;

    (void)loop;
    (void)events;
    exchange->nudge = exchange->asleep;
    wake(exchange);
}

/* What goes out next; nothing: the connection sleeps until there is something. */
static ssize_t read_stream(void *data, uint64_t position, char *buffer, size_t room)
{
    struct exchange *exchange = data;
    struct client *client = exchange->client;
    struct out *sending = &exchange->sending;

    (void)position;
    if (exchange->gone || client->http->closing) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (sending->length == 0) {
        sink_take(&exchange->sink, sending);
    }
    if (sending->length == 0 && !sink_is_used(&exchange->sink)) {
        return MHD_CONTENT_READER_END_OF_STREAM; /* the rules do not allow it any more */
    }
    if (sending->length == 0 && exchange->nudge) {
        out_puts(sending, ": keep-alive\n\n");
    }
    exchange->nudge = false;
    if (sending->error) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    size_t length = out_read(sending, buffer, room);
    if (length > 0) {
        traffic_of(client->http)->sent_bytes += length;
        return (ssize_t)length;
    }
    exchange->asleep = true;
    MHD_suspend_connection(exchange->connection);
    (void)hangup_add(&client->http->full, client->fd, exchange);
    return 0;
}

struct query {
    struct filter filter;
    bool no_snapshot;
    bool fault;
};

/* Words with commas between. */
static bool add_kinds(struct filter *filter, const char *list)
{
    for (;; list++) {
        size_t length = strcspn(list, ",");
        if (!filter_add_kind(filter, list, length)) {
            return false;
        }
        list += length;
        if (!*list) {
            return true;
        }
    }
}

static enum MHD_Result on_argument(void *data, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    struct query *query = data;
    bool good = false;

    (void)kind;
    if (!value) {
        good = false;
    } else if (strcmp(name, "kinds") == 0) {
        good = add_kinds(&query->filter, value);
    } else if (strcmp(name, "name") == 0) {
        good = filter_set_glob(query->filter.name, value);
    } else if (strcmp(name, "uuid") == 0) {
        good = filter_set_glob(query->filter.uuid, value);
    } else if (strcmp(name, "snapshot") == 0) {
        query->no_snapshot = strcmp(value, "0") == 0;
        good = query->no_snapshot || strcmp(value, "1") == 0;
    }
    query->fault = query->fault || !good;
    return MHD_YES;
}

static enum MHD_Result queue_stream(struct exchange *exchange)
{
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BYTES, read_stream, exchange, NULL);

    /* After a header alone libmicrohttpd would send a last chunk. */
    if (response && exchange->head) {
        (void)MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    }
    return queue(exchange, MHD_HTTP_OK, "text/event-stream", 0, response);
}

/* What GET answers is a method's answer in other clothes. */
static bool may_call(const struct exchange *exchange, const char *method)
{
    return access_allows(dispatcher_of(exchange)->rules, &exchange->client->peer, method);
}

static enum MHD_Result queue_denied(struct exchange *exchange, const char *method)
{
    audit_refused(dispatcher_of(exchange), &exchange->client->peer, method);
    return queue_static(exchange, MHD_HTTP_FORBIDDEN, "text/plain; charset=utf-8",
                        "No rule allows this user to read that: access_explain tells more.\n");
}

static enum MHD_Result begin_stream(struct exchange *exchange, const struct query *query)
{
    struct dispatcher *dispatcher = dispatcher_of(exchange);
    static const char *const refusals[] = {
        "There are as many subscriptions to events as there may be.\n",
        "The kernel does not tell of events now.\n",
    };
    const struct peer *peer = &exchange->client->peer;

    sink_init(&exchange->sink, dispatcher->events, on_events);
    out_init(&exchange->sending, SIZE_MAX, dispatcher->budget);
    int rc = events_stream(dispatcher->events, &exchange->sink, peer, &query->filter,
                           !query->no_snapshot);
    if (rc < 0) {
        return queue_static(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain; charset=utf-8",
                            refusals[rc != -EAGAIN]);
    }
    exchange->streams = true;
    ev_timer_init(&exchange->keep_alive, on_keep_alive, KEEP_ALIVE_SECONDS, KEEP_ALIVE_SECONDS);
    exchange->keep_alive.data = exchange;
    ev_timer_start(dispatcher->loop, &exchange->keep_alive);
    /* Who reads slowly misses events, and is not disconnected. */
    (void)MHD_set_connection_option(exchange->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
    return queue_stream(exchange);
}

static enum MHD_Result answer_events(struct exchange *exchange)
{
    struct query query = {0};

    if (!may_call(exchange, "events_subscribe")) {
        return queue_denied(exchange, "events_subscribe");
    }
    (void)MHD_get_connection_values(exchange->connection, MHD_GET_ARGUMENT_KIND, on_argument,
                                    &query);
    if (query.fault) {
        return queue_static(exchange, MHD_HTTP_BAD_REQUEST, "text/plain; charset=utf-8",
                            "The query takes kinds=added,removed,..., name=GLOB, uuid=GLOB and "
                            "snapshot=0.\n");
    }
    if (exchange->client->http->closing) {
        return queue_static(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain; charset=utf-8",
                            "shutting down\n");
    }
    return exchange->head ? queue_stream(exchange) : begin_stream(exchange, &query);
}

/* It has ended, or its client has gone. */
static void end_stream(struct exchange *exchange)
{
    struct http *http = exchange->client->http;

    ev_timer_stop(http->dispatcher->loop, &exchange->keep_alive);
    sink_done(&exchange->sink);
    out_done(&exchange->sending);
    set_timeout(http, exchange->connection);
}

/* --- what there is --- */

static enum MHD_Result answer_root(struct exchange *exchange)
{
    if (exchange->post) {
        return post(exchange);
    }
    return queue_static(exchange, MHD_HTTP_OK, "text/plain; charset=utf-8",
                        "dmrpcd: Linux device-mapper as JSON-RPC 2.0\n"
                        "\n"
                        "POST /             a request or a batch, as application/json\n"
                        "GET  /healthz      200 while it serves, 503 while it shuts down\n"
                        "GET  /metrics      what server_stats counts, as OpenMetrics\n"
                        "GET  /events       what happens to devices, as it happens: see README\n"
                        "GET  /openrpc.json the methods, their params, results and errors\n");
}

static enum MHD_Result answer_healthz(struct exchange *exchange)
{
    bool closing = exchange->client->http->closing;
    return queue_static(exchange, closing ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK,
                        "text/plain; charset=utf-8", closing ? "shutting down\n" : "ok\n");
}

static enum MHD_Result answer_metrics(struct exchange *exchange)
{
    struct stats stats;
    struct out out;

    if (!may_call(exchange, "server_stats")) {
        return queue_denied(exchange, "server_stats");
    }
    stats_read(dispatcher_of(exchange), &stats);
    out_init(&out, SIZE_MAX, budget_of(exchange));
    metrics_put(&stats, &out);
    enum MHD_Result rc = out.error ? MHD_NO : queue_out(exchange, METRICS_CONTENT_TYPE, &out);
    out_done(&out);
    return rc;
}

static enum MHD_Result answer_openrpc(struct exchange *exchange)
{
    if (!may_call(exchange, "rpc.discover")) {
        return queue_denied(exchange, "rpc.discover");
    }
    return queue_static(exchange, MHD_HTTP_OK, "application/json", openrpc_document);
}

static const struct resource resources[] = {
    {"/", "GET, HEAD, OPTIONS, POST", answer_root},
    {"/healthz", "GET, HEAD, OPTIONS", answer_healthz},
    {"/metrics", "GET, HEAD, OPTIONS", answer_metrics},
    {"/events", "GET, HEAD, OPTIONS", answer_events},
    {"/openrpc.json", "GET, HEAD, OPTIONS", answer_openrpc},
};

static const struct resource *find_resource(const char *path)
{
    for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
        if (strcmp(resources[i].path, path) == 0) {
            return &resources[i];
        }
    }
    return NULL;
}

/* --- requests --- */

static struct client *client_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static enum MHD_Result on_header(void *data, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    struct http_request *request = data;

    (void)kind;
    value = value ? value : "";
    if (strcasecmp(name, "Host") == 0) {
        request->host = value;
        request->hosts++;
    } else if (strcasecmp(name, "Content-Length") == 0) {
        request->length = value;
        request->lengths++;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        request->encoding = value;
        request->encodings++;
    } else if (strcasecmp(name, "Content-Type") == 0) {
        request->content_type = value;
    } else if (strcasecmp(name, "Expect") == 0) {
        request->expect = value;
    } else if (strcasecmp(name, "Origin") == 0 || strncasecmp(name, "Sec-Fetch-", 10) == 0) {
        request->from_browser = true;
    }
    return MHD_YES;
}

static size_t header_size(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info ? info->header_size : 0;
}

/*
 * libmicrohttpd joins folded headers and takes what else is odd. The header as it
 * came still lies in its memory: it ends header_size bytes after the method.
 */
static bool is_plain(struct MHD_Connection *connection, const char *method, const char *version)
{
    int count = MHD_get_connection_values(connection, MHD_HEADER_KIND, NULL, NULL);

    if (count < 0) {
        return false;
    }
    const char *end = method + header_size(connection);
    const char *line = version + strlen(version) + 1;
    line += line < end && *line == '\0'; /* of CR LF */
    return http_is_plain(line, end, (size_t)count);
}

static void exchange_free(struct exchange *exchange)
{
    if (exchange->streams) {
        end_stream(exchange);
    }
    buffer_done(&exchange->text, budget_of(exchange));
    out_done(&exchange->reply);
    free(exchange);
}

/* The header has come: judges it. */
static enum MHD_Result on_head(struct client *client, struct MHD_Connection *connection,
                               const char *path, const char *method, const char *version,
                               struct exchange **ret_exchange)
{
    struct http_request request = {.method = method, .http_1_0 = strcmp(version, "HTTP/1.0") == 0};
    struct exchange *exchange = calloc(1, sizeof(*exchange));

    if (!exchange) {
        return MHD_NO;
    }
    exchange->client = client;
    exchange->connection = connection;
    exchange->post = strcmp(method, "POST") == 0;
    exchange->head = strcmp(method, "HEAD") == 0;
    exchange->resource = find_resource(path);
    out_init(&exchange->reply, SIZE_MAX, budget_of(exchange));
    client->exchange = exchange;
    *ret_exchange = exchange;
    traffic_of(client->http)->received_bytes += header_size(connection);

    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, on_header, &request);
    request.malformed = !is_plain(connection, method, version);
    exchange->verdict = http_judge(&request, exchange->resource ? exchange->resource->allow : NULL,
                                   limits_of(exchange)->request_bytes);
    /* A reply in this step closes the connection: only where the body is not wanted. */
    uint64_t length = request.length ? strtoull(request.length, NULL, 10) : 0;
    if (exchange->verdict.status != 0 &&
        (exchange->verdict.close || request.expect || length > SWALLOW_BYTES)) {
        return queue_verdict(exchange);
    }
    return MHD_YES;
}

/* Finds the JSON text in what comes, and keeps it without the blanks around it. */
static void take(struct exchange *exchange, const char *bytes, size_t length)
{
    const struct limits *limits = limits_of(exchange);
    const struct scan_limits scan_limits = {limits->request_bytes, limits->depth, limits->values};
    size_t used;
    size_t blank;

    for (; length > 0 && exchange->fault == SCAN_MORE && !exchange->unkept && !exchange->more;
         bytes += used, length -= used) {
        enum scan_result result =
            scan_feed(&exchange->scan, &scan_limits, bytes, length, &used, &blank);
        if (exchange->whole && used > blank) {
            exchange->more = true;
        } else if (used > blank) {
            exchange->unkept =
                !buffer_append(&exchange->text, budget_of(exchange), bytes + blank, used - blank);
        }
        if (result == SCAN_DOCUMENT) {
            exchange->whole = true;
        } else {
            exchange->fault = result;
        }
    }
    if (exchange->fault != SCAN_MORE || exchange->unkept || exchange->more) {
        buffer_done(&exchange->text, budget_of(exchange));
    }
}

static enum MHD_Result on_body(struct exchange *exchange, const char *bytes, size_t length)
{
    exchange->received += length;
    traffic_of(exchange->client->http)->received_bytes += length;
    if (exchange->verdict.status == 0 && exchange->received > limits_of(exchange)->request_bytes) {
        buffer_done(&exchange->text, budget_of(exchange));
        exchange->verdict = http_too_long();
    }
    if (exchange->verdict.status == 0) {
        take(exchange, bytes, length);
    }
    return exchange->received <= SWALLOW_BYTES || exchange->verdict.status == 0 ? MHD_YES : MHD_NO;
}

/* Bytes that libmicrohttpd holds, and that it lets nobody see again. */
static void wipe(const char *bytes, size_t length)
{
    union {
        const char *bytes;
        void *memory;
    } held = {.bytes = bytes};
    explicit_bzero(held.memory, length);
}

/* Called with the header, with each piece of the body, at its end, and after each resume. */
static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *length, void **ret_exchange)
{
    struct exchange *exchange = *ret_exchange;

    (void)data;
    if (!exchange) {
        return on_head(client_of(connection), connection, path, method, version,
                       (struct exchange **)ret_exchange);
    }
    if (*length > 0) {
        enum MHD_Result rc = on_body(exchange, bytes, *length);
        wipe(bytes, *length);
        *length = 0;
        return rc;
    }
    if (exchange->gone) {
        return MHD_NO;
    }
    return exchange->verdict.status != 0 ? queue_verdict(exchange)
                                         : exchange->resource->answer(exchange);
}

/* What has come is served, then libmicrohttpd reads the end and closes. */
static void end_input(const struct client *client)
{
    (void)shutdown(client->fd, SHUT_RD);
}

static void on_ended(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    end_input(watcher->data);
}

/*
 * libmicrohttpd waits for edges, and forgets one where a read brought less than it
 * asked for: an end that came together with data would be read when the time is
 * over. This makes another edge, and one more from time to time, since there may be
 * data to read before the end.
 */
static void on_half_closed(void *who)
{
    struct client *client = who;

    hangup_remove(&client->http->half, client->fd);
    ev_timer_init(&client->ended, on_ended, 0., END_AGAIN);
    client->ended.data = client;
    ev_timer_start(client->http->dispatcher->loop, &client->ended);
}

static void on_completed(void *data, struct MHD_Connection *connection, void **ret_exchange,
                         enum MHD_RequestTerminationCode code)
{
    struct exchange *exchange = *ret_exchange;

    (void)data;
    (void)connection;
    (void)code;
    if (!exchange) {
        return;
    }
    struct client *client = exchange->client;
    client->exchange = NULL;
    exchange_free(exchange);
    *ret_exchange = NULL;
    if (client->http->closing) {
        end_input(client);
    }
}

/* --- clients --- */

static void client_free(struct client *client)
{
    struct http *http = client->http;

    if (client->previous) {
        client->previous->next = client->next;
    } else {
        http->first = client->next;
    }
    if (client->next) {
        client->next->previous = client->previous;
    }
    http->count--;
    traffic_of(http)->open--;
    ev_timer_stop(http->dispatcher->loop, &client->ended);
    budget_give(http->dispatcher->budget, POOL_BYTES);
    peer_unref(&client->peer);
    free(client);
}

/* http_take() has put the client to the front before libmicrohttpd hears of it. */
static void on_connection(void *data, struct MHD_Connection *connection, void **ret_client,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *http = data;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        struct client *client = http->first;
        while (client && client->fd != fd) {
            client = client->next;
        }
        *ret_client = client;
        set_timeout(http, connection);
    } else if (*ret_client) {
        client_free(*ret_client);
        *ret_client = NULL;
    }
}

void http_take(struct http *http, int fd, const struct peer *peer)
{
    const struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct client *client = calloc(1, sizeof(*client));

    if (!client || !budget_take(http->dispatcher->budget, POOL_BYTES)) {
        free(client);
        (void)close(fd);
        return;
    }
    *client = (struct client){.http = http, .next = http->first, .fd = fd, .peer = peer_ref(peer)};
    if (client->next) {
        client->next->previous = client;
    }
    http->first = client;
    http->count++;
    traffic_of(http)->open++;
    (void)hangup_add(&http->half, fd, client);
    size_t before = http->count;
    if (MHD_add_connection(http->daemon, fd, (const struct sockaddr *)&address,
                           sizeof(address.sun_family)) != MHD_YES &&
        http->count == before) {
        client_free(client); /* it was never begun; the socket has been closed */
    }
    kick(http);
}

bool http_wants(const struct http *http, char first)
{
    /* CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE */
    return http && first != '\0' && strchr("CDGHOPT", first);
}

size_t http_count(const struct http *http)
{
    return http ? http->count : 0;
}

size_t http_count_user(const struct http *http, uid_t uid)
{
    size_t count = 0;

    for (const struct client *client = http ? http->first : NULL; client; client = client->next) {
        count += client->peer.uid == uid;
    }
    return count;
}

/* --- all of it --- */

void http_close(struct http *http)
{
    if (!http) {
        return;
    }
    http->closing = true;
    for (const struct client *client = http->first; client; client = client->next) {
        if (!client->exchange) {
            end_input(client);
        } else if (client->exchange->streams) {
            wake(client->exchange);
        }
    }
    kick(http);
}

int http_new(struct dispatcher *dispatcher, void (*empty)(void *data), void *data,
             struct http **ret_http)
{
    const struct limits *limits = &dispatcher->host.limits;
    struct http *http = calloc(1, sizeof(*http));

    *ret_http = NULL;
    if (!http) {
        return -ENOMEM;
    }
    *http = (struct http){.dispatcher = dispatcher, .empty = empty, .data = data};
    int rc = hangup_init(&http->full, dispatcher->loop, HANGUP_FULL, on_gone);
    if (rc < 0) {
        free(http);
        return rc;
    }
    rc = hangup_init(&http->half, dispatcher->loop, HANGUP_HALF, on_half_closed);
    if (rc < 0) {
        hangup_done(&http->full);
        free(http);
        return rc;
    }
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        on_request, http, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned int)limits->connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)limits->stall_seconds,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, http, MHD_OPTION_END);
    if (!http->daemon) {
        hangup_done(&http->full);
        hangup_done(&http->half);
        free(http);
        return -ENOMEM;
    }
    int fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    ev_io_init(&http->ready, on_ready, fd, EV_READ);
    ev_init(&http->timer, on_timer);
    http->ready.data = http->timer.data = http;
    ev_io_start(dispatcher->loop, &http->ready);
    ev_unref(dispatcher->loop);
    *ret_http = http;
    return 0;
}

struct http *http_free(struct http *http)
{
    if (!http) {
        return NULL;
    }
    struct ev_loop *loop = http->dispatcher->loop;
    for (struct client *client = http->first; client; client = client->next) {
        if (client->exchange && (client->exchange->rpc || client->exchange->asleep)) {
            on_gone(client->exchange);
        }
    }
    (void)MHD_run(http->daemon);
    MHD_stop_daemon(http->daemon);
    ev_ref(loop);
    ev_io_stop(loop, &http->ready);
    ev_timer_stop(loop, &http->timer);
    hangup_done(&http->full);
    hangup_done(&http->half);
    free(http);
    return NULL;
}
