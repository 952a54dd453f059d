/* SPDX-License-Identifier: Apache-2.0 */
/* server_said.h - what the code under test says on stdout and stderr. */
#ifndef SERVER_SAID_H
#define SERVER_SAID_H

/* From now on both streams go to a file. */
void said_start(void);

/* Puts them back. Returns what was said, until the next said_start. */
const char *said_end(void);

#endif
