# SPDX-License-Identifier: Apache-2.0
add_library(server_rig STATIC
    ${CMAKE_CURRENT_LIST_DIR}/server_ask.c
    ${CMAKE_CURRENT_LIST_DIR}/server_rig.c
    ${CMAKE_CURRENT_LIST_DIR}/server_said.c)
target_link_libraries(server_rig PUBLIC dmrpc_server PkgConfig::CMOCKA)

# A host of files.
add_library(server_host STATIC ${CMAKE_CURRENT_LIST_DIR}/server_host.c)
target_link_libraries(server_host PUBLIC PkgConfig::CMOCKA)

# For programs in which memory can run out, and is looked at when it is freed.
add_library(server_memory STATIC ${CMAKE_CURRENT_LIST_DIR}/server_memory.c)
target_link_options(server_memory INTERFACE
    -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=reallocarray,--wrap=free)

foreach(module budget buffer hangup harden http_request lacks peer registers secret uevents words)
    dmrpc_unit_test(server_${module} dmrpc_server)
endforeach()
foreach(module access config decode encode events failure foreign json_line named options order rules scan text turns under waits watch)
    dmrpc_unit_test(server_${module} server_rig)
endforeach()
foreach(module arena call conn envelope json_memory kernel_log out)
    dmrpc_unit_test(server_${module} server_rig server_memory)
endforeach()
dmrpc_unit_test(server_block dmrpc_server server_host)
dmrpc_unit_test(server_explain server_rig server_host)
dmrpc_unit_test(server_holders dmrpc_server server_host server_memory)
dmrpc_unit_test(server_dispatch server_rig server_memory -Wl,--wrap=pthread_create)
dmrpc_unit_test(server_audit server_rig
    -Wl,--wrap=access,--wrap=sd_journal_sendv,--wrap=sd_pid_get_unit)
dmrpc_unit_test(server_claim server_rig)
dmrpc_unit_test(server_listener server_rig -Wl,--wrap=lchown,--wrap=accept4)
dmrpc_unit_test(server_guardian server_rig)
dmrpc_unit_test(server_keeper server_rig)
dmrpc_unit_test(server_lease server_rig)
dmrpc_unit_test(server_log dmrpc_server)
dmrpc_unit_test(server_methods server_rig)
dmrpc_unit_test(server_metrics server_rig)
# ThreadSanitizer calls some of these for itself, before there is a test.
if(NOT DMRPC_SANITIZE MATCHES "thread")
    dmrpc_unit_test(server_protect dmrpc_server
        -Wl,--wrap=prctl,--wrap=mlockall,--wrap=setrlimit,--wrap=getrlimit,--wrap=syscall,--wrap=open)
endif()
dmrpc_unit_test(server_reload server_rig -Wl,--wrap=stats_clock)
dmrpc_unit_test(server_rpc server_rig server_memory -Wl,--wrap=pthread_create)
dmrpc_unit_test(server_stats server_rig -Wl,--wrap=clock_gettime)
dmrpc_unit_test(server_workers server_rig
    -Wl,--wrap=pthread_create,--wrap=clock_gettime,--wrap=pthread_cond_broadcast)
dmrpc_unit_test(server_enomem fuzz_session)
set_tests_properties(unit.server_enomem PROPERTIES TIMEOUT 600) # thousands of runs
