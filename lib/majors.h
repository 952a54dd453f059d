/* SPDX-License-Identifier: Apache-2.0 */
/*
 * majors.h - which block majors are device-mapper's, from the text of /proc/devices.
 */
#ifndef DMI_MAJORS_H
#define DMI_MAJORS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* *ret_majors is malloc'ed, NULL where there are none. 0, -ENOMEM or -EIO. */
int majors_parse(FILE *devices, uint32_t **ret_majors, size_t *ret_count);

#endif
