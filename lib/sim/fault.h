/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - faults on demand: calls that wait, fail, or both.
 */
#ifndef SIM_FAULT_H
#define SIM_FAULT_H

struct dmi_sim;
struct sim_call;

/* What the faults do to a call: 0: it may go on; else a negative errno. May sleep. */
int sim_fault_meet(struct sim_call *call, unsigned int nr);

void sim_faults_done(struct dmi_sim *sim);

#endif
