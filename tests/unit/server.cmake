# SPDX-License-Identifier: Apache-2.0
add_library(server_rig STATIC
    ${CMAKE_CURRENT_LIST_DIR}/server_ask.c
    ${CMAKE_CURRENT_LIST_DIR}/server_rig.c
    ${CMAKE_CURRENT_LIST_DIR}/server_said.c)
target_link_libraries(server_rig PUBLIC dmrpc_server PkgConfig::CMOCKA)

# For programs in which memory can run out, and is looked at when it is freed.
add_library(server_memory STATIC ${CMAKE_CURRENT_LIST_DIR}/server_memory.c)
target_link_options(server_memory INTERFACE
    -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=reallocarray,--wrap=free)

foreach(module access budget buffer hangup http_request)
    dmrpc_unit_test(server_${module} dmrpc_server)
endforeach()
foreach(module decode encode failure options order scan text turns waits)
    dmrpc_unit_test(server_${module} server_rig)
endforeach()
foreach(module arena call conn envelope json_memory out)
    dmrpc_unit_test(server_${module} server_rig server_memory)
endforeach()
dmrpc_unit_test(server_dispatch server_rig server_memory -Wl,--wrap=pthread_create)
dmrpc_unit_test(server_listener server_rig -Wl,--wrap=lchown,--wrap=accept4)
dmrpc_unit_test(server_metrics server_rig)
dmrpc_unit_test(server_rpc server_rig server_memory -Wl,--wrap=pthread_create)
dmrpc_unit_test(server_stats server_rig -Wl,--wrap=clock_gettime)
dmrpc_unit_test(server_workers server_rig
    -Wl,--wrap=pthread_create,--wrap=clock_gettime,--wrap=pthread_cond_broadcast)
dmrpc_unit_test(server_enomem fuzz_session)
set_tests_properties(unit.server_enomem PROPERTIES TIMEOUT 600) # thousands of runs
