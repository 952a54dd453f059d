# SPDX-License-Identifier: Apache-2.0
add_library(sim_rig STATIC ${CMAKE_CURRENT_LIST_DIR}/test_sim_rig.c)
target_link_libraries(sim_rig PUBLIC dmsim dmioctl PkgConfig::CMOCKA)

foreach(module args bdev call_device call_list call_message call_table control device_suspend
        fault poll registry scale targets threads)
    dmrpc_unit_test(sim_${module} sim_rig)
endforeach()
