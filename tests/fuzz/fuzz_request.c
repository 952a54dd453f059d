/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the way of a request: bytes into connections, replies out, on a simulated
 * kernel, with memory that may run out on the way. What is checked is in session.c.
 *
 * Input: the session's flags; which allocation fails (two bytes, low first; its upper
 * six bits say how many fail: 0 none, 63 all from there on); then the script.
 */
#include "fuzz.h"
#include "scarce.h"
#include "session.h"

enum { HEAD = 3, ALL = 63 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct session *session; /* stays, as the daemon would */
    struct session_plan plan = {0};

    if (size < HEAD) {
        return 0;
    }
    if (!session) {
        session = session_new();
    }
    plan.flags = data[0];
    plan.passes = data[1] | (data[2] & 3U) << 8;
    plan.failures = data[2] >> 2 == ALL ? SCARCE_FOREVER : data[2] >> 2;
    session_run(session, &plan, data + HEAD, size - HEAD, NULL);
    return 0;
}
