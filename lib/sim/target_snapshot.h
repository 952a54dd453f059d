/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_snapshot.h - what the snapshot targets know of each other.
 */
#ifndef SIM_TARGET_SNAPSHOT_H
#define SIM_TARGET_SNAPSHOT_H

struct dmi_sim;
struct sim_bdev;
struct sim_device;

/* The device whose resumed snapshot-origin table maps `bdev`, or NULL. */
struct sim_device *sim_snapshot_origin_device(const struct dmi_sim *sim,
                                              const struct sim_bdev *bdev);

#endif
