/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls as rpc.c makes them, one at a time.
 */
#include "server_ask.h"

#include <stdlib.h>
#include <string.h>

static void take(struct asked *asked)
{
    size_t length = 0;

    asked->done++;
    asked->when = asked->clock ? ++*asked->clock : 0;
    asked->text = rig_text(&asked->out, &length);
    if (length > 0) {
        asked->reply = rig_json(asked->text);
        assert_string_equal(rig_string(asked->reply, "jsonrpc"), "2.0");
    }
}

static void on_done(struct call *call)
{
    take((struct asked *)(void *)call);
}

bool ask_how(struct rig *rig, struct asked *asked, const char *method, const char *params,
             struct ask_how how)
{
    const struct peer peer = {.uid = how.uid};
    const struct dispatch_request request = {.peer = &peer, .method = method, .batch = how.batch};

    memset(asked, 0, sizeof(*asked));
    out_init(&asked->out, SIZE_MAX, &rig->budget);
    asked->params = params ? rig_json(params) : NULL;
    asked->clock = how.clock;
    asked->call.params_json = asked->params;
    asked->call.id = how.id ? how.id : "7";
    asked->call.id_length = strlen(asked->call.id);
    asked->call.notification = how.notification;
    asked->call.out = &asked->out;
    asked->call.done = on_done;
    if (dispatch_begin(&rig->dispatcher, &asked->call, &request)) {
        assert_int_equal(asked->done, 0);
        take(asked);
        return true;
    }
    return false;
}

bool ask(struct rig *rig, struct asked *asked, const char *method, const char *params)
{
    return ask_how(rig, asked, method, params, (struct ask_how){0});
}

static bool has_ended(void *what)
{
    const struct asked *asked = what;
    return asked->done > 0;
}

void ask_wait(struct rig *rig, struct asked *asked)
{
    rig_until(rig, has_ended, asked);
    assert_int_equal(asked->done, 1);
}

const json_t *ask_now(struct rig *rig, struct asked *asked, const char *method, const char *params)
{
    if (!ask(rig, asked, method, params)) {
        ask_wait(rig, asked);
    }
    return asked->reply;
}

void ask_done(struct asked *asked)
{
    assert_int_equal(asked->done, 1);
    assert_null(asked->call.arena.blocks);
    assert_null(asked->call.owned);
    assert_null(asked->call.rules);
    out_done(&asked->out);
    json_decref(asked->reply);
    json_decref(asked->params);
    free(asked->text);
}
